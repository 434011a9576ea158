//! A statement of SQL, or a list of them.

use mixflow_core::written_as;
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

/// Statements, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statements(pub Vec<String>);

written_as!(Statements, {
    "anyOf": [
        { "type": "string" },
        { "type": "array", "items": { "type": "string" }, "minItems": 1 }
    ]
});

impl<'de> Deserialize<'de> for Statements {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Statements, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Statements;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a statement of SQL, or a list of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Statements, E> {
                Ok(Statements(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Statements, A::Error> {
                let mut all = Vec::new();
                while let Some(statement) = list.next_element()? {
                    all.push(statement);
                }
                Ok(Statements(all))
            }
        }

        from.deserialize_any(Either)
    }
}
