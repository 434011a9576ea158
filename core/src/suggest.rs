//! "Did you mean".

/// As many known names are looked at, so that a thousand slips among thousands
/// of columns take no minute.
const MOST_KNOWN: usize = 200;

/// Returns the name of `known` that `name` was most likely meant to be.
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .take(MOST_KNOWN)
        .map(|candidate| (strsim::jaro_winkler(name, candidate), *candidate))
        .filter(|(likeness, _)| *likeness >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Returns ``, did you mean `x`?`` or nothing.
pub fn did_you_mean(name: &str, known: &[&str]) -> String {
    nearest(name, known)
        .map(|candidate| format!(", did you mean `{candidate}`?"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let known = ["path", "table", "mode"];
        assert_eq!(nearest("pth", &known), Some("path"));
        assert_eq!(nearest("tabel", &known), Some("table"));
        assert_eq!(nearest("compression", &known), None);
    }
}
