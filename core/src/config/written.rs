//! What values look like of which serde cannot tell it.

/// Says what a type looks like in a pipeline file, for its JSON Schema: as JSON, or
/// by what makes that of a `schemars` generator. For types that read themselves.
#[macro_export]
macro_rules! written_as {
    ($type:ty, |$generator:ident| $json:expr) => {
        impl $crate::schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> ::std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(
                $generator: &mut $crate::schemars::SchemaGenerator,
            ) -> $crate::schemars::Schema {
                $json
            }
        }
    };
    ($type:ty, $json:tt) => {
        $crate::written_as!($type, |_generator| $crate::schemars::json_schema!($json));
    };
}
