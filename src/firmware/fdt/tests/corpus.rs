//! The trees in `tests/data`, and those of a directory named by `GRANULE_DTBS`.

use serde_json::Value;
use std::boxed::Box;
use std::format;
use std::path::{Path, PathBuf};
use std::string::String;
use std::sync::Mutex;
use std::vec::Vec;

/// A tree and what is known of it.
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) blob: &'static [u8],
    pub(crate) expected: Value,
}

fn load(directory: &Path) -> Vec<Sample> {
    let expected = std::fs::read_to_string(directory.join("expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&expected).unwrap();
    let samples = expected.as_object().unwrap().iter().map(|(name, expected)| Sample {
        name: name.clone(),
        blob: Box::leak(std::fs::read(directory.join(name)).unwrap().into_boxed_slice()),
        expected: expected.clone(),
    });
    samples.collect()
}

fn directories(below: &str) -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let own = if below.is_empty() { own.join("dtbs") } else { own.join(below) };
    let more = std::env::var_os("GRANULE_DTBS").map(|more| Path::new(&more).join(below));
    [Some(own), more].into_iter().flatten().collect()
}

/// Well-formed trees with all their facts.
pub(crate) fn good() -> Vec<Sample> {
    let samples: Vec<Sample> = directories("").iter().flat_map(|at| load(at)).collect();
    assert!(samples.len() > 20, "the trees are missing");
    samples
}

/// Malformed and hostile trees with the verdict on each.
pub(crate) fn bad() -> Vec<Sample> {
    let samples: Vec<Sample> = directories("bad").iter().flat_map(|at| load(at)).collect();
    assert!(samples.len() > 50, "the trees are missing");
    samples
}

/// Returns a tree of `tests/data`.
pub(crate) fn sample(name: &str) -> &'static [u8] {
    /// Blobs that stay for good, so that Miri finds a reference to them.
    static KEPT: Mutex<Vec<&[u8]>> = Mutex::new(Vec::new());
    let at = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{name}.dtb"));
    let blob = Box::leak(std::fs::read(at).unwrap().into_boxed_slice());
    KEPT.lock().unwrap().push(blob);
    blob
}

/// A list of pairs of hexadecimal strings.
pub(crate) fn pairs(list: &Value) -> Vec<(u64, u64)> {
    let number = |value: &Value| {
        let text = value.as_str().unwrap().strip_prefix("0x").unwrap();
        u64::from_str_radix(text, 16).unwrap()
    };
    list.as_array().unwrap().iter().map(|pair| (number(&pair[0]), number(&pair[1]))).collect()
}
