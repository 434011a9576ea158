//! mixflow with the sink of `sinks/example` compiled in.
//!
//! ```sh
//! cargo run -p mixflow-cli --example csv -- components
//! ```

fn main() -> std::process::ExitCode {
    let mut registry = mixflow::registry();
    mixflow_sink_example::register(&mut registry);
    mixflow_cli::main(registry)
}
