//! No slip of the pen shows a secret: files and arguments with a known one are
//! changed in many ways, and what is said about them is searched for its pieces.

use proptest::prelude::*;

use super::tests::built;
use super::*;

/// Long enough to be recognised in pieces; with what a secret may have.
const SECRET: &str = "hun7er2! Zebra+quux/47\u{e9}1xyz==";

/// So much of the secret tells too much.
const PIECE: usize = 5;

const REST: &str = "rows = 1\nnames = [\"a\"]\n[sink]\ntype = \"log\"\npath = \"x\"\n";

/// Files in which the secret stands where it may; `@` is the secret.
const FILES: [&str; 9] = [
    "[source]\ntype = \"numbers\"\nauth = { username = \"ann\", secret = \"@\" }\n",
    "[source]\ntype = \"numbers\"\nauth.username = \"ann\"\nauth.secret = '@' # a secret\n",
    "[source.auth]\nusername = \"ann\"\nsecret = \"\"\"\n@\"\"\"\n[source]\ntype = \"numbers\"\n",
    "[source]\ntype = \"numbers\"\nauth = \"@\"\n",
    "[source]\ntype = \"numbers\"\nbase_url = \"https://ann:@@example.com\"\n",
    "[notify]\nwebhook = { url = \"https://hooks.example.com/@\" }\n[source]\ntype = \"numbers\"\n",
    "[[transform]]\ntype = \"hash\"\ncolumns = [\"row\"]\nkey = \"@\"\n[source]\ntype = \"numbers\"\n",
    "[source]\ntype = \"numbers\"\nauth = { username = \"ann\", secret = [\n  \"@\",\n] }\n",
    "[source]\ntype = \"numbers\"\nrows = \"x\" # was auth = \"@\"\n",
];

/// Returns the pieces of the secret that a text shows.
pub(super) fn shown_piece(text: &str) -> Option<String> {
    let secret: Vec<char> = SECRET.chars().collect();
    let mut pieces = secret.windows(PIECE).map(String::from_iter);
    pieces.find(|piece| text.contains(piece.as_str()))
}

/// One change: where, what and with what.
#[derive(Clone, Debug)]
enum Slip {
    Remove(usize, usize),
    Insert(usize, &'static str),
    Replace(usize, &'static str),
    Swap(usize),
}

fn slip() -> impl Strategy<Value = Slip> {
    let odd = prop::sample::select(vec![
        "\"", "'", "=", ";", ",", ":", "[", "]", "{", "}", "#", ".", "\n", " ", "\t", "\\", "x",
        "Z", "1", "\u{e9}", "\"\"\"", "${", "}", "\r\n", "==", "secret", "\u{1b}",
    ]);
    let at = 0_usize..200;
    prop_oneof![
        3 => (at.clone(), 1_usize..4).prop_map(|(at, n)| Slip::Remove(at, n)),
        3 => (at.clone(), odd.clone()).prop_map(|(at, text)| Slip::Insert(at, text)),
        3 => (at.clone(), odd).prop_map(|(at, text)| Slip::Replace(at, text)),
        2 => at.prop_map(Slip::Swap),
    ]
}

fn slipped(text: &str, slips: &[Slip]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for slip in slips {
        let length = chars.len().max(2);
        match slip {
            Slip::Remove(at, n) => {
                let at = at % length;
                let end = (at + n).min(chars.len());
                chars.drain(at.min(end)..end);
            }
            Slip::Insert(at, text) => {
                let at = (at % length).min(chars.len());
                chars.splice(at..at, text.chars());
            }
            Slip::Replace(at, text) => {
                let at = (at % length).min(chars.len());
                let end = (at + 1).min(chars.len());
                chars.splice(at..end, text.chars());
            }
            Slip::Swap(at) => {
                let at = at % (length - 1);
                if at + 1 < chars.len() {
                    chars.swap(at, at + 1);
                }
            }
        }
    }
    chars.into_iter().collect()
}

fn said(text: &str, overrides: &[Override]) -> String {
    built(text, &Env::empty(), overrides)
        .err()
        .unwrap_or_default()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn no_slip_in_a_file_shows_a_secret(
        file in prop::sample::select(FILES.to_vec()),
        slips in prop::collection::vec(slip(), 1..2),
    ) {
        let text = slipped(&file.replacen('@', SECRET, 1), &slips) + REST;
        let said = said(&text, &[]);
        prop_assert_eq!(shown_piece(&said), None, "{}\n----\n{}", text, said);
    }

    #[test]
    fn no_slip_in_an_argument_shows_a_secret(
        argument in prop::sample::select(vec![
            "source.auth.secret=@",
            "source.auth={ username = \"a\", secret = \"@\" }",
            "source={ auth = { secret = \"@\" } }",
            "source.base_url=https://ann:@@example.com",
        ]),
        slips in prop::collection::vec(slip(), 1..2),
    ) {
        let argument = slipped(&argument.replacen('@', SECRET, 1), &slips);
        let said = match Override::from_argument("--set", &argument) {
            Ok(set) => said("[source]\ntype = \"numbers\"\n[sink]\ntype = \"log\"\n", &[set]),
            Err(problem) => problem,
        };
        prop_assert_eq!(shown_piece(&said), None, "{}\n----\n{}", argument, said);
    }
}

/// What people have been seen to write.
#[test]
fn the_slips_of_the_field_show_no_secret() {
    for line in [
        "auth = { username = \"ann\", secret = \"@ }",
        "auth = { username = \"ann\", secret = @ }",
        "auth = { username = \"ann\"; secret = \"@\" }",
        "auth = { username = \"ann\" secret = \"@\" }",
        "auth = { username = \"ann\", secret \"@\" }",
        "auth = { username = \"ann\", secret: \"@\" }",
        "auth = { username = \"ann\", scrt = \"@\" }",
        "athu = \"@\"",
        "kye = \"@\"",
        "xyz = \"@\"",
        "secret @",
        "@",
        "\"@\"",
        "= \"@\"",
        "secret = \"@\" \"@\"",
        "base_url = \"https://ann:@@example.com\"",
        "base_url = \"https://example.com/?token=@\"",
        "base_url = https://ann:@@example.com",
        "rows = \"x\" # the secret is @",
        "auth = \"a map: sequence @\"",
        "auth = 20240131",
        "[source.auth.secret.\"@\"]",
        "[source.auth.secret @]",
    ] {
        let line = line.replace('@', SECRET);
        let text = format!("[source]\ntype = \"numbers\"\n{line}\n{REST}");
        let said = said(&text, &[]);
        assert_eq!(shown_piece(&said), None, "{line}\n{said}");
        assert!(!said.contains("20240131"), "{said}");
    }
}
