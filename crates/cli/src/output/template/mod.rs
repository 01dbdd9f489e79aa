//! Go templates over JSON, with Docker's functions and Docker's words for what goes wrong.

mod data;
mod functions;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gotmpl::{MissingKey, TemplateError, Value};
use serde_json::Value as Json;

pub use data::LABELS_KEY;
use data::{Nothing, Shapes, convert};

/// Maps whose keys are data: a missing one is no mistake in the template.
const OPEN_MAPS: [&str; 9] = [
    "Attributes",
    "Labels",
    "Ports",
    "Networks",
    "Sysctls",
    "Tmpfs",
    "ExposedPorts",
    "Volumes",
    "PortBindings",
];

/// Which names a template may use of its data.
#[derive(Clone, Copy)]
pub enum Names<'a> {
    /// The fields of a type; the message names it as Docker does.
    Type(&'a str),
    /// The keys of a JSON document.
    Document,
}

/// Whether functions change their argument, or leave it as the header of a column.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Functions {
    Values,
    Headers,
}

/// A template, parsed.
pub struct Template {
    source: String,
    functions: Functions,
    shapes: Arc<Mutex<Shapes>>,
    strict: gotmpl::Template,
}

impl Template {
    /// Parses a template; the error is a line for the user.
    pub fn parse(source: &str, functions: Functions) -> Result<Template, String> {
        let source = method_calls(source);
        let shapes = Arc::default();
        let strict = build(&source, functions, MissingKey::Error, &shapes)
            .map_err(|error| format!("template parsing error: {error}"))?;
        // Unknown functions are only met when it is filled.
        let tried = build(&source, functions, MissingKey::Invalid, &shapes)
            .and_then(|lenient| lenient.execute_to_string(&Value::Nil));
        if let Err(TemplateError::UndefinedFunction(name)) = tried {
            let problem = format!("function {name:?} not defined");
            return Err(format!("template parsing error: template: :1: {problem}"));
        }
        Ok(Template {
            source,
            functions,
            shapes,
            strict,
        })
    }

    /// Fills it with `data`.
    pub fn render(&self, data: &Json, names: Names<'_>) -> Result<String, String> {
        self.fill(data, None, names)
    }

    /// The same, where `json` writes the whole as another document.
    pub fn render_with(
        &self,
        data: &Json,
        whole: Json,
        names: Names<'_>,
    ) -> Result<String, String> {
        self.fill(data, Some(whole), names)
    }

    fn fill(&self, data: &Json, whole: Option<Json>, names: Names<'_>) -> Result<String, String> {
        let value = self.convert(data, Nothing::Nil);
        if let Some(whole) = whole {
            self.shapes().write_as(&value, whole);
        }
        match self.strict.execute_to_string(&value) {
            Ok(text) if text.contains(NO_VALUE) => {
                // The engine goes on through nothing to nothing; Docker's does not.
                let beyond = self.convert(data, Nothing::Object);
                match self.strict.execute_to_string(&beyond) {
                    Err(TemplateError::MissingKey { key }) => {
                        Err(missing(&key, self.find_field(&key), names))
                    }
                    _ => Ok(text.replace(NO_VALUE, "<nil>")),
                }
            }
            Ok(text) => Ok(text),
            Err(TemplateError::MissingKey { key }) => match self.find_field(&key) {
                Some(field) if field.in_open_map() => self.render_leniently(&value),
                field => Err(missing(&key, field, names)),
            },
            Err(error) => Err(format!("template parsing error: {error}")),
        }
    }

    fn shapes(&self) -> MutexGuard<'_, Shapes> {
        self.shapes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn convert(&self, data: &Json, nothing: Nothing) -> Value {
        let mut shapes = self.shapes();
        *shapes = Shapes::new(nothing);
        convert(data, &mut shapes)
    }

    /// Once more, with `<no value>` for what is not there.
    fn render_leniently(&self, value: &Value) -> Result<String, String> {
        build(
            &self.source,
            self.functions,
            MissingKey::Invalid,
            &self.shapes,
        )
        .and_then(|template| template.execute_to_string(value))
        .map_err(|error| format!("template parsing error: {error}"))
    }

    fn find_field(&self, key: &str) -> Option<FieldUse<'_>> {
        let end = self
            .source
            .match_indices(key)
            .map(|(start, _)| start + key.len())
            .find(|end| {
                let rest = &self.source[*end..];
                self.source[..end - key.len()].ends_with('.') && !rest.starts_with(is_word)
            })?;
        let start = self.source[..end]
            .char_indices()
            .rfind(|(_, c)| !is_word(*c) && *c != '.')
            .map_or(0, |(i, c)| i + c.len_utf8());
        Some(FieldUse {
            source: &self.source,
            start,
            end,
        })
    }
}

/// What the engine of templates prints for nothing.
const NO_VALUE: &str = "<no value>";

/// Where a template uses a field: `.State.Foo`.
struct FieldUse<'a> {
    source: &'a str,
    start: usize,
    end: usize,
}

impl FieldUse<'_> {
    fn text(&self) -> &str {
        &self.source[self.start..self.end]
    }

    fn in_open_map(&self) -> bool {
        self.text()
            .rsplit('.')
            .nth(1)
            .is_some_and(|parent| OPEN_MAPS.contains(&parent))
    }

    /// `1:2: executing "" at <.Foo>`, counted as Go counts: a chain of fields is where its second one is.
    fn place(&self) -> String {
        let second = self
            .text()
            .char_indices()
            .filter(|(_, c)| *c == '.')
            .map(|(i, _)| i)
            .nth(1);
        let offset = self.start + second.unwrap_or(0);
        let before = &self.source[..offset];
        let line = before.matches('\n').count() + 1;
        let column = before
            .rfind('\n')
            .map_or(offset, |newline| offset - newline - 1);
        let text = self.text();
        match text.get(..20).filter(|_| text.len() > 20) {
            Some(cut) => format!("{line}:{column}: executing \"\" at <{cut}...>"),
            None => format!("{line}:{column}: executing \"\" at <{text}>"),
        }
    }
}

fn missing(key: &str, field: Option<FieldUse<'_>>, names: Names<'_>) -> String {
    let place = field.map_or_else(|| "1: executing \"\"".to_owned(), |field| field.place());
    let problem = match names {
        Names::Type(name) => format!("can't evaluate field {key} in type {name}"),
        Names::Document => format!("map has no entry for key {key:?}"),
    };
    format!("template parsing error: template: :{place}: {problem}")
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A row has one method with an argument, `.Label "name"`: a function here.
fn method_calls(source: &str) -> String {
    source
        .replace(".Label \"", "label $ \"")
        .replace(".Label `", "label $ `")
}

fn build(
    source: &str,
    functions: Functions,
    missing_key: MissingKey,
    shapes: &Arc<Mutex<Shapes>>,
) -> gotmpl::Result<gotmpl::Template> {
    let template = gotmpl::Template::new("").missing_key(missing_key);
    functions::register(template, functions, shapes).parse(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Json {
        serde_json::json!({
            "Id": "abc",
            "State": { "Status": "running", "OOMKilled": false, "ExitCode": 0 },
            "Mounts": [{ "Type": "bind", "Source": "/a", "Destination": "/b", "Propagation": "rprivate" }],
            "Config": { "AttachStdin": false, "Labels": { "b": "2", "a": "1" }, "Env": ["A=1", "B=2"], "Cmd": null,
                "ExposedPorts": { "80/tcp": {} }, "Volumes": null },
            "HostConfig": { "PidsLimit": null, "LogConfig": { "Config": {} } },
            "NetworkSettings": { "Ports": { "80/tcp": [{ "HostIp": "0.0.0.0", "HostPort": "8080" }] } },
        })
    }

    fn inspect(template: &str) -> Result<String, String> {
        Template::parse(template, Functions::Values)?.render(&document(), Names::Document)
    }

    fn ok(template: &str) -> String {
        inspect(template).unwrap()
    }

    #[test]
    fn fields_and_maps() {
        assert_eq!(ok("{{.State.Status}} {{.State.ExitCode}}"), "running 0");
        assert_eq!(ok("{{index .Config.Labels \"a\"}}"), "1");
        assert_eq!(
            ok("{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}"),
            "8080"
        );
        assert_eq!(
            ok("{{range $p, $b := .NetworkSettings.Ports}}{{$p}}={{len $b}}{{end}}"),
            "80/tcp=1"
        );
    }

    #[test]
    fn json_is_as_it_was() {
        assert_eq!(
            ok("{{json .State}}"),
            r#"{"Status":"running","OOMKilled":false,"ExitCode":0}"#
        );
        assert_eq!(ok("{{json .Config.Cmd}} {{.Config.Cmd}}"), "null []");
        assert_eq!(ok("{{json .Config.Labels}}"), r#"{"b":"2","a":"1"}"#);
        assert_eq!(ok("{{json .}}"), document().to_string());
    }

    #[test]
    fn functions_are_docker_s() {
        assert_eq!(ok("{{join .Config.Env \",\"}}"), "A=1,B=2");
        assert_eq!(
            ok("{{upper .Id}} {{lower \"ABC\"}} {{title \"new york\"}}"),
            "ABC abc New York"
        );
        assert_eq!(ok("{{index (split \"a:b\" \":\") 1}}"), "b");
        assert_eq!(ok("[{{pad .Id 1 2}}] [{{pad \"\" 1 2}}]"), "[ abc  ] []");
        assert_eq!(ok("{{truncate .Id 2}}{{truncate .Id 9}}"), "ababc");
        assert_eq!(ok("{{println .Id}}"), "abc\n");
    }

    #[test]
    fn what_json_leaves_out_exists() {
        assert_eq!(ok("{{range .Mounts}}[{{.Name}}]{{end}}"), "[]");
        assert_eq!(ok("{{if .State.Health}}yes{{else}}no{{end}}"), "no");
        assert_eq!(ok("{{.Config.Labels.nosuch}}"), "<no value>");
        assert_eq!(ok("{{.Config.StopSignal}}"), "");
        assert_eq!(ok("{{.ID}} {{json .ID}}"), r#"abc "abc""#);
    }

    #[test]
    fn nothing_is_printed_as_docker_s_types_print_it() {
        assert_eq!(ok("[{{index .Config.Labels \"nosuch\"}}]"), "[]");
        let option = "[{{index .HostConfig.LogConfig.Config \"max-size\"}}]";
        assert_eq!(ok(option), "[]");
        assert_eq!(
            ok("{{.Config.Healthcheck}} {{.State.Health}} {{.HostConfig.PidsLimit}}"),
            "<nil> <nil> <nil>"
        );
        assert_eq!(
            ok("{{.Config.Volumes}} {{json .Config.Volumes}}"),
            "map[] null"
        );
        assert_eq!(
            ok("{{.Config.ExposedPorts}} {{json .Config.ExposedPorts}}"),
            r#"map[80/tcp:{}] {"80/tcp":{}}"#
        );
        let through = "{{.Id}}{{.State.Health.Status}}";
        assert!(inspect(through).unwrap_err().contains("map has no entry"));
        let careful = "{{if .State.Health}}{{.State.Health.Status}}{{end}}{{.State.Health}}";
        assert_eq!(ok(careful), "<nil>");
    }

    #[test]
    fn mistakes_are_told_as_docker_tells_them() {
        assert_eq!(
            inspect("{{.Foo}}").unwrap_err(),
            "template parsing error: template: :1:2: executing \"\" at <.Foo>: map has no entry for key \"Foo\""
        );
        assert_eq!(
            inspect("{{.Id}}\n {{.NetworkSettings.IPAdress}}").unwrap_err(),
            "template parsing error: template: :2:19: executing \"\" at <.NetworkSettings.IPA...>: \
             map has no entry for key \"IPAdress\""
        );
        assert_eq!(
            inspect("{{.Id | nosuch}}").unwrap_err(),
            "template parsing error: template: :1: function \"nosuch\" not defined"
        );
        assert!(
            inspect("{{.Id")
                .unwrap_err()
                .starts_with("template parsing error: template: ")
        );
        // What stands before the field may be longer than a byte.
        assert!(inspect("{{printf \"→.Foo\" .Foo}}").is_err());
        let row = serde_json::json!({ "ID": "x" });
        let error = Template::parse("{{.Nope}}", Functions::Values)
            .unwrap()
            .render(&row, Names::Type("*formatter.ContainerContext"))
            .unwrap_err();
        assert!(
            error.ends_with("can't evaluate field Nope in type *formatter.ContainerContext"),
            "{error}"
        );
    }

    #[test]
    fn a_row_has_labels() {
        let row = serde_json::json!({ "ID": "x", LABELS_KEY: { "com.example.my-app": "v" } });
        let source = "{{.Label \"com.example.my-app\"}}|{{.Label \"other\"}}|{{json .}}";
        let values = Template::parse(source, Functions::Values).unwrap();
        assert_eq!(
            values.render(&row, Names::Type("T")).unwrap(),
            "v||{\"ID\":\"x\"}"
        );
        let headers = Template::parse(
            "{{.Label \"com.example.my-app\"}} {{upper .ID}}",
            Functions::Headers,
        )
        .unwrap();
        assert_eq!(headers.render(&row, Names::Type("T")).unwrap(), "my app x");
    }
}
