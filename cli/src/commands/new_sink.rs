//! `mixflow new-sink`: a crate to begin a sink with.
//!
//! It is `sinks/example` under another name, so that what an author begins
//! with is what our own tests run.

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use mixflow_core::sink::already_exists;
use mixflow_core::{Error, ErrorKind, Result};

use crate::app::App;

/// `mixflow new-sink`.
#[derive(Debug, ClapArgs)]
pub(crate) struct NewSinkArgs {
    /// What the sink is called; also the folder that is made
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// A clone of mixflow to build against [default: the one that this binary was built in, else git]
    #[arg(long, value_name = "DIR")]
    pub(crate) mixflow: Option<PathBuf>,
}

const LIB: &str = include_str!("../../../sinks/example/src/lib.rs");
const ROWS: &str = include_str!("../../../sinks/example/src/rows.rs");
const CONFORMANCE: &str = include_str!("../../../sinks/example/tests/conformance.rs");
const MANIFEST: &str = include_str!("new_sink.toml");
const PIPELINE: &str = include_str!("new_sink_pipeline.toml");

/// Where this binary was built: there, the crates of mixflow are at hand.
const BUILT_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

pub(crate) fn new_sink(app: &App, args: &NewSinkArgs) -> Result<()> {
    let names = Names::of(&args.name)?;
    let folder = Path::new(&names.kebab);
    let sources = Sources::find(args.mixflow.as_deref())?;
    if folder.exists() {
        return Err(already_exists(&format!("`{}`", folder.display()))
            .hint("choose another name, or move it away"));
    }
    let files = [
        ("Cargo.toml", sources.in_manifest(MANIFEST)),
        (".gitignore", "/target\n/*.csv\n".to_owned()),
        ("src/lib.rs", without_guide(LIB)),
        ("src/rows.rs", ROWS.to_owned()),
        ("tests/conformance.rs", CONFORMANCE.to_owned()),
        ("pipeline.toml", PIPELINE.to_owned()),
    ];
    for (name, text) in files {
        let path = folder.join(name);
        let written = std::fs::create_dir_all(path.parent().unwrap_or(folder))
            .and_then(|()| std::fs::write(&path, names.put_into(&text)));
        written.map_err(|error| {
            Error::new(ErrorKind::Io, format!("cannot write `{}`", path.display()))
                .with_source(error)
        })?;
    }
    let shown = folder.display();
    app.ui.status(&format!(
        "wrote {shown}, a sink that writes CSV, for you to change; now:"
    ));
    for (n, step) in [
        format!("cd {shown}"),
        "cargo test                  (runs the conformance kit)".to_owned(),
        "cargo build".to_owned(),
        "mixflow run pipeline.toml   (made-up events, no credentials)".to_owned(),
    ]
    .iter()
    .enumerate()
    {
        app.ui.status(&format!("  {}. {step}", n + 1));
    }
    Ok(())
}

/// The name in the forms that the files have it in.
struct Names {
    kebab: String,
    snake: String,
    camel: String,
}

impl Names {
    fn of(name: &str) -> Result<Names> {
        let wrong = || {
            Error::new(ErrorKind::Config, format!("cannot call a sink `{name}`"))
                .because("a name is small letters, digits, `-` and `_`, beginning with a letter")
        };
        let words: Vec<&str> = name.split(['-', '_']).collect();
        let is_word = |word: &&str| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
        if !starts || !words.iter().all(is_word) {
            return Err(wrong());
        }
        let camel = words.iter().map(|word| {
            let (first, rest) = word.split_at(1);
            first.to_uppercase() + rest
        });
        Ok(Names {
            kebab: words.join("-"),
            snake: words.join("_"),
            camel: camel.collect(),
        })
    }

    /// Renames the example, which is called `csv`.
    fn put_into(&self, text: &str) -> String {
        text.replace(
            "mixflow_sink_example",
            &format!("mixflow_sink_{}", self.snake),
        )
        .replace(
            "mixflow-sink-example",
            &format!("mixflow-sink-{}", self.kebab),
        )
        .replace("CsvOptions", &format!("{}Options", self.camel))
        .replace("CsvSink", &format!("{}Sink", self.camel))
        .replace("CsvTxn", &format!("{}Txn", self.camel))
        .replace("\"csv\"", &format!("\"{}\"", self.snake))
    }
}

/// Leaves out what is about this repository.
fn without_guide(lib: &str) -> String {
    lib.replace(
        "\n//!\n//! The guide, the README of `sinks/abi`, goes through it.",
        "",
    )
    .replace(
        "//! A CSV sink: a whole sink in one file, to learn from.",
        "//! A sink of mixflow. As it was made, it writes CSV.",
    )
}

/// Where cargo finds the crates of mixflow.
enum Sources {
    Folder(PathBuf),
    Git,
}

impl Sources {
    fn find(given: Option<&Path>) -> Result<Sources> {
        let folder = given.unwrap_or(Path::new(BUILT_IN));
        let is_mixflow = folder.join("sinks/abi/Cargo.toml").is_file();
        match folder.canonicalize() {
            Ok(folder) if is_mixflow => Ok(Sources::Folder(folder)),
            _ if given.is_none() => Ok(Sources::Git),
            _ => Err(Error::new(
                ErrorKind::Config,
                format!("`{}` is not a clone of mixflow", folder.display()),
            )
            .hint("leave `--mixflow` out, and cargo fetches it")),
        }
    }

    fn in_manifest(&self, manifest: &str) -> String {
        let of = |folder: &str| match self {
            Sources::Folder(root) => {
                let path = root.join(folder);
                format!("path = {:?}", path.display().to_string())
            }
            Sources::Git => format!(
                "git = \"{}\", tag = \"v{}\"",
                env!("CARGO_PKG_REPOSITORY"),
                env!("CARGO_PKG_VERSION")
            ),
        };
        manifest
            .replace("path = \"abi\"", &of("sinks/abi"))
            .replace("path = \"dynamic\"", &of("sinks/dynamic"))
    }
}
