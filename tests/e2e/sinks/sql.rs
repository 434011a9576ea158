//! How the words of a query are told apart.

use mixflow_sink_duckdb::sql::{Kind, parameters, pieces, statements};

fn shown(sql: &str) -> Vec<(Kind, &str, bool)> {
    let pieces = pieces(sql).into_iter();
    pieces
        .map(|one| (one.kind, &sql[one.range], one.is_whole))
        .collect()
}

#[test]
fn quotes_comments_and_parameters_are_told_apart() {
    use Kind::{Code, Comment, Name, Parameter, Text};
    assert_eq!(
        shown("a 'b''$c' \"d;$e\"$f--;$g\n/*/*;*/$h*/$$ $i '$$ $t$;$t$ j$k e'\\'$l' $1"),
        [
            (Code, "a ", true),
            (Text, "'b''$c'", true),
            (Code, " ", true),
            (Name, "\"d;$e\"", true),
            (Parameter, "$f", true),
            (Comment, "--;$g\n", true),
            (Comment, "/*/*;*/$h*/", true),
            (Text, "$$ $i '$$", true),
            (Code, " ", true),
            (Text, "$t$;$t$", true),
            (Code, " j$k e", true),
            (Text, "'\\'$l'", true),
            (Code, " $1", true),
        ]
    );
}

#[test]
fn what_goes_on_is_not_whole() {
    for sql in ["SELECT 'a", "SELECT \"a", "/* a", "$$ a $", "$x$ $$"] {
        assert!(!shown(sql).last().expect("a piece").2, "{sql}");
    }
    assert_eq!(statements("SELECT 'a;"), (vec![], "SELECT 'a;"));
    assert_eq!(statements(";; a ;"), (vec!["a"], ""));
    assert_eq!(statements("größe; ü"), (vec!["größe"], "ü"));
}

#[test]
fn parameters_are_those_outside_of_texts() {
    assert_eq!(parameters("$b $a $b '$c'"), ["b", "a"]);
}
