//! Go templates over JSON, with Docker's functions and Docker's words for what goes wrong.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use gotmpl::{MissingKey, TemplateError, Value};
use serde_json::Value as Json;

/// Key under which a row of a listing keeps what `.Label "name"` looks in; no template can name it.
pub const LABELS_KEY: &str = "\0labels";

/// Maps whose keys are data: a missing one is no mistake in the template.
const OPEN_MAPS: [&str; 8] = [
    "Labels",
    "Ports",
    "Networks",
    "Sysctls",
    "Tmpfs",
    "ExposedPorts",
    "Volumes",
    "PortBindings",
];

/// What a field is when JSON leaves it out.
#[derive(Clone, Copy)]
enum Zero {
    Nil,
    Text,
    False,
    Map,
}

/// Fields that exist though JSON leaves them out when empty, by a field that tells which object it is.
const LEFT_OUT: [(&str, &[(&str, Zero)]); 6] = [
    ("OOMKilled", &[("Health", Zero::Nil)]),
    (
        "HostnamePath",
        &[("SizeRw", Zero::Nil), ("SizeRootFs", Zero::Nil)],
    ),
    (
        "RepoTags",
        &[("Created", Zero::Text), ("Variant", Zero::Text)],
    ),
    (
        "Propagation",
        &[("Name", Zero::Text), ("Driver", Zero::Text)],
    ),
    (
        "AttachStdin",
        &[
            ("ExposedPorts", Zero::Map),
            ("Healthcheck", Zero::Nil),
            ("MacAddress", Zero::Text),
            ("NetworkDisabled", Zero::False),
            ("Shell", Zero::Nil),
            ("StopSignal", Zero::Text),
            ("StopTimeout", Zero::Nil),
        ],
    ),
    (
        "NetworkMode",
        &[
            ("Annotations", Zero::Map),
            ("Init", Zero::Nil),
            ("Mounts", Zero::Nil),
            ("StorageOpt", Zero::Map),
            ("Sysctls", Zero::Map),
            ("Tmpfs", Zero::Map),
        ],
    ),
];

/// How `json` has to write a value that the template engine cannot hold as it was: keys in their order, and `null`
/// for a list that is none. By the address of the value.
#[derive(Default)]
struct Shapes(HashMap<usize, Shape>);

enum Shape {
    Keys(Vec<Arc<str>>),
    Null,
}

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
        Ok(Template {
            source,
            functions,
            shapes,
            strict,
        })
    }

    /// Fills it with `data`.
    pub fn render(&self, data: &Json, names: Names<'_>) -> Result<String, String> {
        let value = {
            let mut shapes = self.shapes.lock().unwrap_or_else(PoisonError::into_inner);
            shapes.0.clear();
            convert(data, &mut shapes)
        };
        match self.strict.execute_to_string(&value) {
            Ok(text) => Ok(text),
            Err(TemplateError::MissingKey { key }) => match self.find_field(&key) {
                Some(field) if field.in_open_map() => self.render_leniently(&value),
                field => Err(missing(&key, field, names)),
            },
            Err(error) => Err(format!("template parsing error: {error}")),
        }
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
            .rfind(|c: char| !is_word(c) && c != '.')
            .map_or(0, |i| i + 1);
        Some(FieldUse {
            source: &self.source,
            start,
            end,
        })
    }
}

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
    let template = gotmpl::Template::new("")
        .missing_key(missing_key)
        .func("pad", pad);
    let template = match functions {
        Functions::Values => {
            let shapes = Arc::clone(shapes);
            template
                .func("json", move |args| {
                    let shapes = shapes.lock().unwrap_or_else(PoisonError::into_inner);
                    Ok(Value::from(
                        revert(argument("json", args, 0)?, &shapes).to_string(),
                    ))
                })
                .func("join", join)
                .func("split", split)
                .func("lower", |args| {
                    Ok(Value::from(text("lower", args, 0)?.to_lowercase()))
                })
                .func("upper", |args| {
                    Ok(Value::from(text("upper", args, 0)?.to_uppercase()))
                })
                .func("title", |args| {
                    Ok(Value::from(title(text("title", args, 0)?)))
                })
                .func("truncate", truncate)
                .func("label", label)
        }
        Functions::Headers => [
            "json", "join", "split", "lower", "upper", "title", "truncate",
        ]
        .into_iter()
        .fold(template, |template, name| {
            template.func(name, move |args| argument(name, args, 0).cloned())
        })
        .func("label", label_header),
    };
    template.parse(source)
}

fn argument<'a>(name: &str, args: &'a [Value], index: usize) -> gotmpl::Result<&'a Value> {
    args.get(index).ok_or_else(|| TemplateError::ArgCount {
        name: name.to_owned(),
        expected: index + 1,
        got: args.len(),
    })
}

fn text<'a>(name: &str, args: &'a [Value], index: usize) -> gotmpl::Result<&'a str> {
    let value = argument(name, args, index)?;
    value.as_str().ok_or_else(|| {
        TemplateError::Exec(format!(
            "{name}: expected string, got {}",
            value.type_name()
        ))
    })
}

fn number(name: &str, args: &[Value], index: usize) -> gotmpl::Result<usize> {
    let value = argument(name, args, index)?;
    let number = value.as_int().and_then(|n| usize::try_from(n).ok());
    number.ok_or_else(|| TemplateError::Exec(format!("{name}: expected a count, got {value}")))
}

fn pad(args: &[Value]) -> gotmpl::Result<Value> {
    let (source, before, after) = (
        text("pad", args, 0)?,
        number("pad", args, 1)?,
        number("pad", args, 2)?,
    );
    if source.is_empty() {
        return Ok(Value::from(String::new()));
    }
    Ok(Value::from(format!("{:before$}{source}{:after$}", "", "")))
}

fn truncate(args: &[Value]) -> gotmpl::Result<Value> {
    let (source, length) = (text("truncate", args, 0)?, number("truncate", args, 1)?);
    Ok(Value::from(source.chars().take(length).collect::<String>()))
}

fn split(args: &[Value]) -> gotmpl::Result<Value> {
    let (source, separator) = (text("split", args, 0)?, text("split", args, 1)?);
    let parts: Vec<Value> = match separator {
        "" => source.chars().map(|c| Value::from(c.to_string())).collect(),
        _ => source
            .split(separator)
            .map(|part| Value::from(part.to_owned()))
            .collect(),
    };
    Ok(Value::List(parts.into()))
}

fn join(args: &[Value]) -> gotmpl::Result<Value> {
    let (elements, separator) = (argument("join", args, 0)?, text("join", args, 1)?);
    let parts: Vec<String> = match elements {
        Value::Nil => Vec::new(),
        Value::List(list) => list.iter().map(Value::to_string).collect(),
        Value::Map(map) => {
            let mut values: Vec<String> = map.values().map(Value::to_string).collect();
            values.sort();
            values
        }
        other => {
            return Err(TemplateError::Exec(format!(
                "expected slice, got {}",
                other.type_name()
            )));
        }
    };
    Ok(Value::from(parts.join(separator)))
}

fn title(text: &str) -> String {
    let mut at_start = true;
    let mut result = String::with_capacity(text.len());
    for c in text.chars() {
        match at_start {
            true => result.extend(c.to_uppercase()),
            false => result.push(c),
        }
        at_start = !is_word(c) && c != '\'';
    }
    result
}

fn label(args: &[Value]) -> gotmpl::Result<Value> {
    let name = text("label", args, 1)?;
    let labels = argument("label", args, 0)?.field(LABELS_KEY);
    Ok(labels
        .and_then(|labels| labels.field(name))
        .cloned()
        .unwrap_or_else(|| Value::from(String::new())))
}

fn label_header(args: &[Value]) -> gotmpl::Result<Value> {
    let name = text("label", args, 1)?;
    Ok(Value::from(
        name.rsplit('.')
            .next()
            .unwrap_or(name)
            .replace(['-', '_'], " "),
    ))
}

fn convert(json: &Json, shapes: &mut Shapes) -> Value {
    match json {
        Json::Null => {
            let list: Arc<[Value]> = Arc::from(Vec::new());
            shapes
                .0
                .insert(Arc::as_ptr(&list).cast::<()>() as usize, Shape::Null);
            Value::List(list)
        }
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::Int(number),
            (None, Some(number)) => Value::Uint(number),
            (None, None) => Value::Float(number.as_f64().unwrap_or_default()),
        },
        Json::String(text) => Value::String(text.as_str().into()),
        Json::Array(items) => Value::List(items.iter().map(|item| convert(item, shapes)).collect()),
        Json::Object(object) => {
            let keys: Vec<Arc<str>> = object.keys().map(|key| Arc::from(key.as_str())).collect();
            let mut map: BTreeMap<Arc<str>, Value> = keys
                .iter()
                .cloned()
                .zip(object.values().map(|value| convert(value, shapes)))
                .collect();
            add_left_out(&mut map);
            let map = Arc::new(map);
            shapes
                .0
                .insert(Arc::as_ptr(&map).cast::<()>() as usize, Shape::Keys(keys));
            Value::Map(map)
        }
    }
}

fn add_left_out(map: &mut BTreeMap<Arc<str>, Value>) {
    let fields = LEFT_OUT
        .iter()
        .filter(|(mark, _)| map.contains_key(*mark))
        .flat_map(|(_, fields)| *fields);
    for (name, zero) in fields.collect::<Vec<_>>() {
        map.entry(Arc::from(*name)).or_insert_with(|| match zero {
            Zero::Nil => Value::Nil,
            Zero::Text => Value::from(String::new()),
            Zero::False => Value::Bool(false),
            Zero::Map => Value::Map(Arc::default()),
        });
    }
}

/// Back to JSON, as it was before [`convert`].
fn revert(value: &Value, shapes: &Shapes) -> Json {
    match value {
        Value::Bool(flag) => Json::from(*flag),
        Value::Int(number) => Json::from(*number),
        Value::Uint(number) => Json::from(*number),
        Value::Float(number) => Json::from(*number),
        Value::String(text) => Json::from(&**text),
        Value::List(items) => match shapes.0.get(&(Arc::as_ptr(items).cast::<()>() as usize)) {
            Some(Shape::Null) => Json::Null,
            _ => items.iter().map(|item| revert(item, shapes)).collect(),
        },
        Value::Map(map) => {
            let sorted: Vec<Arc<str>>;
            let keys = match shapes.0.get(&(Arc::as_ptr(map).cast::<()>() as usize)) {
                Some(Shape::Keys(keys)) => keys,
                _ => {
                    sorted = map.keys().cloned().collect();
                    &sorted
                }
            };
            let shown = keys.iter().filter(|key| ***key != *LABELS_KEY);
            let pairs =
                shown.filter_map(|key| Some((key.to_string(), revert(map.get(key)?, shapes))));
            Json::Object(pairs.collect())
        }
        _ => Json::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Json {
        serde_json::json!({
            "Id": "abc",
            "State": { "Status": "running", "OOMKilled": false, "ExitCode": 0 },
            "Mounts": [{ "Type": "bind", "Source": "/a", "Destination": "/b", "Propagation": "rprivate" }],
            "Config": { "AttachStdin": false, "Labels": { "b": "2", "a": "1" }, "Env": ["A=1", "B=2"], "Cmd": null },
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
        assert!(
            inspect("{{.Id")
                .unwrap_err()
                .starts_with("template parsing error: template: ")
        );
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
