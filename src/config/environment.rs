//! The process environment, captured once. Nothing else in the hub looks at it.

use std::{collections::BTreeMap, io, path::PathBuf};

/// What the process was started with.
#[derive(Clone, Default)]
pub struct Environment {
    pub vars: BTreeMap<String, String>,
    pub cwd: PathBuf,
    /// Path of the running program.
    pub exe: PathBuf,
}

impl Environment {
    /// This process's own. Variables that are not UTF-8 are left out.
    pub fn capture() -> io::Result<Self> {
        let vars = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect();
        Ok(Self { vars, cwd: std::env::current_dir()?, exe: std::env::current_exe()? })
    }

    /// A variable of the hub's own, see [`variable`].
    pub fn own(&self, name: &str) -> Result<Option<String>, String> {
        variable(&self.vars, name)
    }
}

/// Values may be secrets.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment").field("vars", &self.vars.len()).field("cwd", &self.cwd).field("exe", &self.exe).finish()
    }
}

/// `NAME`, else the content of the file that `NAME_FILE` names, its last line end cut. Empty counts as absent.
///
/// # Errors
/// The file cannot be read; the text says which.
pub fn variable(vars: &BTreeMap<String, String>, name: &str) -> Result<Option<String>, String> {
    if let Some(value) = vars.get(name).filter(|value| !value.is_empty()) {
        return Ok(Some(value.clone()));
    }
    let by_file = format!("{name}_FILE");
    let Some(path) = vars.get(&by_file).filter(|path| !path.is_empty()) else { return Ok(None) };
    let text = std::fs::read_to_string(path).map_err(|error| format!("{by_file}: cannot read '{path}': {error}"))?;
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()).filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_may_come_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "secret\n").unwrap();
        let of = |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>();
        let file = path.to_str().unwrap();
        assert_eq!(variable(&of(&[("K_FILE", file)]), "K").unwrap().as_deref(), Some("secret"));
        assert_eq!(variable(&of(&[("K_FILE", file), ("K", "first")]), "K").unwrap().as_deref(), Some("first"));
        assert_eq!(variable(&of(&[("K", "")]), "K").unwrap(), None);
        assert!(variable(&of(&[("K_FILE", "/no/such/file")]), "K").unwrap_err().contains("K_FILE"));
    }

    #[test]
    fn debug_shows_no_value() {
        let environment = Environment { vars: [("A".to_owned(), "hidden".to_owned())].into(), ..Environment::default() };
        assert!(!format!("{environment:?}").contains("hidden"));
    }
}
