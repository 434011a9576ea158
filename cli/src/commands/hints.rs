//! What to do about a query that cannot be answered, where DuckDB's words do not
//! say it.

use mixflow_core::{Error, ErrorKind};
use mixflow_sink_duckdb::sql::{Kind, pieces};

/// Functions that count with numbers.
const OF_NUMBERS: [&str; 6] = ["sum", "avg", "mean", "median", "stddev", "quantile_cont"];

/// Returns the error of a query with a hint, if there is one that fits.
pub(super) fn hinted(error: Error, sql: &str) -> Error {
    if error.kind() != ErrorKind::Query || error.hint_text().is_some() || error.remedy().is_some() {
        return error;
    }
    let said = error.causes().join("\n");
    match hint(&said, sql) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

fn hint(said: &str, sql: &str) -> Option<String> {
    if said.contains("JSON path") {
        let name = texts(sql).find_map(|text| text.strip_prefix('$').filter(|name| is_plain(name)));
        let name = name?;
        return Some(format!(
            "`'${name}'` is a path for DuckDB: the property of that name is `'/${name}'`"
        ));
    }
    let is_of_text = |function: &str| {
        let called = |kind: &str| said.contains(&format!("'{function}({kind}"));
        called("VARCHAR") || called("JSON")
    };
    if said.contains("No function matches")
        && let Some(function) = OF_NUMBERS.into_iter().find(|one| is_of_text(one))
    {
        return Some(format!(
            "a property is text: cast it, such as `{function}((properties->>'amount')::DOUBLE)`"
        ));
    }
    None
}

/// Returns what to say of a query in which a shell has very likely put nothing for
/// a variable: `properties->>'/$os'` in double quotes.
pub(super) fn taken_by_a_shell(sql: &str) -> Option<String> {
    let pieces = pieces(sql);
    let is_taken = pieces.windows(2).any(|pair| {
        let (code, text) = (&sql[pair[0].range.clone()], &sql[pair[1].range.clone()]);
        let asks = code.trim_end().ends_with("->>") || code.trim_end().ends_with("->");
        pair[0].kind == Kind::Code && asks && matches!(text, "'/'" | "''")
    });
    is_taken.then(|| {
        "the query asks for a property without a name: in double quotes a shell puts its own \
         variable for `$os`; write `\\$os`, or put the query into a file for `-f FILE`"
            .to_owned()
    })
}

/// Returns the texts of a query, without their quotes.
fn texts(sql: &str) -> impl Iterator<Item = &str> {
    let texts = pieces(sql)
        .into_iter()
        .filter(|piece| piece.kind == Kind::Text);
    texts.map(|piece| sql[piece.range].trim_matches('\''))
}

/// Whether a name is not the rest of a path: `$.a`, `$[0]`.
fn is_plain(name: &str) -> bool {
    name.starts_with(|c: char| c.is_alphabetic() || c == '_')
}
