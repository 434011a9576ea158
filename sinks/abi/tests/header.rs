//! The header says what `raw` says.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use mixflow_sink_abi::raw::{
    ArrowArray, ArrowSchema, Cancel, FAILED, Failure, Host, IN_DOUBT, MAGIC, OK, Str, Table, Text,
    VERSION, Version,
};

/// Asserts for a C compiler that a struct has the size and the offsets of ours.
macro_rules! same {
    ($c:ident, $c_name:literal, $rust:ty, $($field:ident),+) => {
        writeln!($c, "_Static_assert(sizeof({}) == {}, \"size\");", $c_name, size_of::<$rust>()).unwrap();
        $(writeln!(
            $c,
            "_Static_assert(offsetof({}, {}) == {}, \"offset\");",
            $c_name,
            stringify!($field),
            std::mem::offset_of!($rust, $field)
        ).unwrap();)+
    };
}

#[test]
fn c_and_rust_agree_on_every_field() {
    let mut c = String::from("#include \"mixflow_sink.h\"\n");
    same!(c, "mixflow_version", Version, major, minor);
    same!(c, "mixflow_str", Str, ptr, len);
    same!(c, "mixflow_text", Text, ptr, len, owner, release);
    same!(
        c,
        "mixflow_failure",
        Failure,
        kind,
        flags,
        message,
        hint,
        invalid
    );
    same!(c, "mixflow_host", Host, size, log_level, log);
    same!(
        c,
        "mixflow_table",
        Table,
        magic,
        version,
        size,
        name,
        open,
        close,
        describe,
        check_schema,
        preview,
        begin,
        partition,
        write,
        commit,
        abort,
        discard,
        set_mode,
        options,
        set_cancel
    );
    same!(c, "mixflow_cancel", Cancel, size, token, wait, release);
    same!(
        c,
        "struct ArrowSchema",
        ArrowSchema,
        format,
        name,
        metadata,
        flags,
        n_children,
        children,
        dictionary,
        release,
        private_data
    );
    same!(
        c,
        "struct ArrowArray",
        ArrowArray,
        length,
        null_count,
        offset,
        n_buffers,
        n_children,
        buffers,
        children,
        dictionary,
        release,
        private_data
    );
    let constants = [
        ("MIXFLOW_ABI_MAJOR", i64::from(VERSION.major)),
        ("MIXFLOW_ABI_MINOR", i64::from(VERSION.minor)),
        ("MIXFLOW_OK", i64::from(OK)),
        ("MIXFLOW_FAILED", i64::from(FAILED)),
        ("MIXFLOW_IN_DOUBT", i64::from(IN_DOUBT)),
    ];
    for (name, value) in constants {
        writeln!(c, "_Static_assert({name} == {value}, \"value\");").unwrap();
    }
    // Characters are no constants of C, so these are compared as text.
    let magic: Vec<String> = MAGIC
        .iter()
        .map(|byte| format!("'{}'", char::from(*byte)))
        .collect();
    let header = std::fs::read_to_string(include_folder().join("mixflow_sink.h")).unwrap();
    assert!(header.contains(&format!("MIXFLOW_MAGIC {{{}}}", magic.join(", "))));
    compile(&c);
}

#[cfg(feature = "author")]
#[test]
fn c_and_rust_agree_on_the_kinds() {
    use mixflow_sink_abi::numbers::kind_of;

    let header = std::fs::read_to_string(include_folder().join("mixflow_sink.h")).unwrap();
    let (_, list) = header.split_once("enum mixflow_kind {").unwrap();
    let (list, _) = list.split_once("};").unwrap();
    let mut kinds = 0;
    for line in list.lines().filter(|line| line.contains('=')) {
        let (name, rest) = line.trim().split_once(" = ").unwrap();
        let number = rest.split([',', ' ']).next().unwrap().parse().unwrap();
        let name = name.strip_prefix("MIXFLOW_").unwrap().to_lowercase();
        assert_eq!(kind_of(number).as_str(), name);
        kinds += 1;
    }
    assert_eq!(kinds, mixflow_core::ErrorKind::ALL.len());
}

fn include_folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/include"))
}

fn compile(c: &str) {
    let folder = std::env::temp_dir().join(format!("mixflow-header-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("check.c");
    std::fs::write(&file, c).unwrap();
    let compiled = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Werror", "-fsyntax-only", "-I"])
        .arg(include_folder())
        .arg(&file)
        .output()
        .unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let said = String::from_utf8_lossy(&compiled.stderr);
    assert!(compiled.status.success(), "{said}");
}
