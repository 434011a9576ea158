//! `mixflow schema-file`.

use mixflow_core::config::schema;

use crate::app::App;

/// Prints the JSON Schema of the pipeline files that this binary takes.
pub(crate) fn schema_file(app: &App) {
    let schema = schema(&app.registry);
    app.ui.out(&format!("{schema:#}\n"));
}
