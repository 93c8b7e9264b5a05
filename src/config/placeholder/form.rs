//! The forms themselves: `${NAME}`, `${NAME:-default}`, `${env:}`, `${input:}`, `${file:}`, `${cmd:}`, inside out.

use super::{
    Leaning, PlaceholderError, failed,
    file::{TEXT_BYTES_MAX, read_text},
    resolver::Resolver,
    scope::{Layer, is_passed_on, passed_on},
};
use crate::config::{command::output, document::Place, shown::MASK};

/// Forms within forms, or values within values, at most.
const PASSES_MAX: usize = 10;
/// Forms that one start may resolve: values that name each other must not multiply without end.
const FORMS_MAX: usize = 10_000;
impl Resolver<'_> {
    /// Replaces every form in a text that stands at `place`.
    pub(super) fn expand(&mut self, text: &str, place: &Place, depth: usize) -> Result<String, PlaceholderError> {
        // Of what is resolved within this text, only an error is told at its own place.
        let outer = std::mem::replace(&mut self.at, place.clone());
        let resolved = self.expand_at(text, place, depth)?;
        self.at = outer;
        Ok(resolved)
    }

    fn expand_at(&mut self, text: &str, place: &Place, depth: usize) -> Result<String, PlaceholderError> {
        if depth > PASSES_MAX {
            return Err(failed(format!("placeholders are nested more than {PASSES_MAX} deep")));
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            out.push_str(before);
            let Some((body, behind)) = split_body(after) else {
                return Err(failed("a \"${\" has no closing \"}\""));
            };
            self.forms += 1;
            if self.forms > FORMS_MAX {
                return Err(failed(format!("more than {FORMS_MAX} placeholders in one entry")));
            }
            out.push_str(&self.form(body, place, depth + 1)?);
            if out.len() > TEXT_BYTES_MAX {
                return Err(failed(format!("a resolved value is longer than {} MiB", TEXT_BYTES_MAX >> 20)));
            }
            rest = behind;
        }
        out.push_str(rest);
        Ok(out)
    }

    /// The value of one form. Its kind is what the file says, never what a value says.
    fn form(&mut self, body: &str, place: &Place, depth: usize) -> Result<String, PlaceholderError> {
        match body.split_once(':') {
            Some(("cmd", line)) => self.command(line, place, depth),
            Some(("file", path)) => {
                // The path is shown as written: resolved, it may hold more than a path.
                let file = self.expand(path.trim(), place, depth)?;
                let file = self.in_folder(&file);
                let text = read_text(&file).map_err(|why| failed(format!("${{{body}}}: {why}")))?;
                self.trail.push(format!("file {path}"));
                Ok(self.secret(text.trim().to_owned()))
            }
            Some(("input", id)) => {
                let resolved = self.expand(id.trim(), place, depth)?;
                self.input(&resolved, id, depth)
            }
            Some(("cred", _)) => Err(failed(format!("${{{body}}} needs a later version; use \"env\" or ${{file:…}}"))),
            Some(("env", name)) => self.variable(name, place, depth),
            _ => self.variable(body, place, depth),
        }
    }

    fn command(&mut self, line: &str, place: &Place, depth: usize) -> Result<String, PlaceholderError> {
        if let Some(why) = &place.source.no_commands {
            return Err(failed(format!("${{cmd:…}} is not run: {why}")));
        }
        let line = self.expand(line.trim(), place, depth)?;
        self.trail.push("a command".to_owned());
        *self.leaning = Leaning { on_folder: true, on_everything: true };
        if !self.run_commands {
            return Ok(MASK.to_owned());
        }
        let environment = &self.scope.world.environment;
        let vars = if self.scope.hub_visible { environment.vars.clone() } else { passed_on(environment).collect() };
        let printed = output(&line, &vars, &environment.cwd, TEXT_BYTES_MAX).map_err(|why| failed(format!("${{cmd:…}} {why}")))?;
        Ok(self.secret(printed))
    }

    /// `written`: the id as the file has it, which is what people may see.
    fn input(&mut self, id: &str, written: &str, depth: usize) -> Result<String, PlaceholderError> {
        let scope = self.scope;
        if scope.hub_visible
            && let Some(value) = scope.world.added.get(&format!("input:{id}"))
        {
            self.trail.push(format!("input {written} from MCP_HUB_ENV"));
            return Ok(value.clone());
        }
        let variable = format!("INPUT_{}", id.to_uppercase().replace('-', "_"));
        if let Some((value, layer)) = self.find(&variable, depth)? {
            self.trail.push(format!("input {written} from {layer}"));
            return Ok(self.secret(value));
        }
        match scope.inputs.get(id) {
            Some(given) => {
                self.trail.push(format!("input {written} from its default"));
                self.expand(&given.text, &given.place, depth)
            }
            None => Err(PlaceholderError::NotFound { name: format!("input:{written}") }),
        }
    }

    /// `NAME` or `NAME:-default`; the default stands in for an empty value too, as in a shell.
    fn variable(&mut self, body: &str, place: &Place, depth: usize) -> Result<String, PlaceholderError> {
        let (written, default) = split_default(body);
        let name = self.expand(written, place, depth)?;
        match (self.find(&name, depth)?, default) {
            (Some((value, layer)), default) if !value.is_empty() || default.is_none() => {
                self.trail.push(format!("{written} from {layer}"));
                let is_common = layer == Layer::Predefined || (layer == Layer::Hub && is_passed_on(&name));
                Ok(if is_common { value } else { self.secret(value) })
            }
            (_, Some(default)) => {
                self.trail.push(format!("{written} from its default"));
                self.expand(default, place, depth)
            }
            (_, None) => Err(PlaceholderError::NotFound { name: written.to_owned() }),
        }
    }
}

/// Splits behind the brace that closes the form: braces in pairs belong to it, as in `${cmd: awk '{print $1}'}`.
fn split_body(text: &str) -> Option<(&str, &str)> {
    let mut open = 1_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => open += 1,
            b'}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some((text.get(..at)?, text.get(at + 1..)?));
        }
    }
    None
}

/// Splits at the first `:-` that is not inside a nested form.
fn split_default(body: &str) -> (&str, Option<&str>) {
    let mut open = 0_usize;
    for (at, byte) in body.bytes().enumerate() {
        match byte {
            b'{' => open += 1,
            b'}' => open = open.saturating_sub(1),
            b':' if open == 0 => {
                if let Some(default) = body.get(at..).and_then(|rest| rest.strip_prefix(":-")) {
                    return (body.get(..at).unwrap_or(body), Some(default));
                }
            }
            _ => {}
        }
    }
    (body, None)
}
