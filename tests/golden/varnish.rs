//! A varnishd that compiles VCL: it serves nothing.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::case::Rendered;
use super::varnishd::Varnishd;

/// One varnishd with a running child, so that `vcl_init` runs too.
pub struct Varnish {
    varnishd: Varnishd,
    /// Texts that have passed: most goldens have the same root.
    passed: RefCell<BTreeSet<String>>,
}

impl Varnish {
    pub fn start() -> Self {
        let varnishd = Varnishd::start(&["-a", "127.0.0.1:0"]);
        varnishd.load("idle", "vcl 4.1;\nbackend default none;\n").unwrap();
        varnishd.cli(&["vcl.use", "idle"]).unwrap();
        varnishd.cli(&["start"]).unwrap();
        Self { varnishd, passed: RefCell::default() }
    }

    /// Loads all VCL of a golden as the reloader would; the error is the compiler's.
    pub fn compile(&self, golden: &str, rendered: &Rendered) -> Result<(), String> {
        let mut loaded = Vec::new();
        let result = self.load_all(golden, rendered, &mut loaded);
        for name in loaded.iter().rev() {
            self.varnishd.cli(&["vcl.discard", name]).unwrap();
        }
        result
    }

    fn load_all(&self, golden: &str, rendered: &Rendered, loaded: &mut Vec<String>) -> Result<(), String> {
        let root = &rendered.files["root.vcl"];
        let root_passed = self.passed.borrow().contains(root);
        for (label, file) in &rendered.labels {
            let text = &rendered.files[file];
            if root_passed && self.passed.borrow().contains(text) {
                continue;
            }
            let name = format!("{label}_shard");
            self.load_file(golden, &name, file, text)?;
            loaded.push(name.clone());
            self.varnishd.cli(&["vcl.label", label, &name])?;
            loaded.push(label.clone());
        }
        if !root_passed {
            self.load_file(golden, "root", "root.vcl", root)?;
            loaded.push("root".into());
        }
        Ok(())
    }

    fn load_file(&self, golden: &str, name: &str, file: &str, text: &str) -> Result<(), String> {
        let refused = |message| format!("{golden}/{file} is refused by varnishd:\n{message}");
        self.varnishd.load(name, text).map_err(refused)?;
        self.passed.borrow_mut().insert(text.to_owned());
        Ok(())
    }
}
