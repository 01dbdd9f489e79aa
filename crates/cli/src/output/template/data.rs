//! JSON as a template's data, and back again as it was.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use gotmpl::Value;
use serde_json::Value as Json;

/// Key under which a row of a listing keeps what `.Label "name"` looks in; no template can name it.
pub const LABELS_KEY: &str = "\0labels";

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

/// Fields that point to something: without it they are nothing, where others are empty lists.
const POINTERS: [&str; 7] = [
    "Health",
    "Healthcheck",
    "IPAMConfig",
    "MemorySwappiness",
    "OomKillDisable",
    "PidsLimit",
    "StopTimeout",
];

/// Fields whose keys and values are texts: what is not there is an empty one.
const TEXTS: [&str; 7] = [
    "Annotations",
    "DriverOpts",
    "Labels",
    "Options",
    "StorageOpt",
    "Sysctls",
    "Tmpfs",
];

/// Fields that are sets: a member has nothing behind its name.
const SETS: [&str; 2] = ["ExposedPorts", "Volumes"];

/// What a pointer to nothing becomes.
#[derive(Clone, Copy, Default)]
pub enum Nothing {
    #[default]
    Nil,
    /// An object without fields: to use one is a mistake.
    Object,
}

impl Nothing {
    fn value(self) -> Value {
        match self {
            Nothing::Nil => Value::Nil,
            Nothing::Object => Value::Map(Arc::default()),
        }
    }
}

/// How `json` has to write a value that the template engine cannot hold as it was, by the address of the value.
#[derive(Default)]
pub struct Shapes {
    nothing: Nothing,
    written: HashMap<usize, Shape>,
    /// Those whose values are texts.
    texts: HashSet<usize>,
}

enum Shape {
    /// An object with its keys in this order.
    Keys(Vec<Arc<str>>),
    /// `null`.
    Null,
    /// `{}`.
    Empty,
    /// Another document.
    Other(Json),
}

impl Shapes {
    pub fn new(nothing: Nothing) -> Shapes {
        Shapes {
            nothing,
            ..Shapes::default()
        }
    }

    /// Has `json` write that instead of this value.
    pub fn write_as(&mut self, value: &Value, json: Json) {
        self.written.insert(address(value), Shape::Other(json));
    }

    /// Whether this is an object whose values are texts.
    pub fn has_texts(&self, value: &Value) -> bool {
        self.texts.contains(&address(value))
    }

    fn keep(&mut self, value: Value, shape: Shape) -> Value {
        self.written.insert(address(&value), shape);
        value
    }
}

fn address(value: &Value) -> usize {
    match value {
        Value::List(list) => Arc::as_ptr(list).cast::<()>() as usize,
        Value::Map(map) => Arc::as_ptr(map).cast::<()>() as usize,
        Value::String(text) => Arc::as_ptr(text).cast::<()>() as usize,
        _ => 0,
    }
}

/// JSON for a template; `shapes` keeps what gets lost.
pub fn convert(json: &Json, shapes: &mut Shapes) -> Value {
    convert_field("", json, shapes)
}

fn convert_field(name: &str, json: &Json, shapes: &mut Shapes) -> Value {
    match json {
        Json::Null if POINTERS.contains(&name) => shapes.nothing.value(),
        Json::Null if TEXTS.contains(&name) || SETS.contains(&name) => {
            let map = shapes.keep(Value::Map(Arc::default()), Shape::Null);
            note_texts(name, &map, shapes);
            map
        }
        Json::Null => shapes.keep(Value::List(Arc::from(Vec::new())), Shape::Null),
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
            let convert = |key: &Arc<str>, value: &Json, shapes: &mut Shapes| match value {
                Json::Object(member) if member.is_empty() && SETS.contains(&name) => {
                    shapes.keep(Value::String(Arc::from("{}")), Shape::Empty)
                }
                value => convert_field(key, value, shapes),
            };
            let mut map: BTreeMap<Arc<str>, Value> = keys
                .iter()
                .zip(object.values())
                .map(|(key, value)| (Arc::clone(key), convert(key, value, shapes)))
                .collect();
            add_left_out(&mut map, shapes.nothing);
            let map = shapes.keep(Value::Map(Arc::new(map)), Shape::Keys(keys));
            note_texts(name, &map, shapes);
            map
        }
    }
}

fn note_texts(name: &str, map: &Value, shapes: &mut Shapes) {
    // A log driver's options have a name that other things have, too.
    let options = || match map {
        Value::Map(map) => map.values().all(|value| matches!(value, Value::String(_))),
        _ => false,
    };
    if TEXTS.contains(&name) || name == "Config" && options() {
        shapes.texts.insert(address(map));
    }
}

fn add_left_out(map: &mut BTreeMap<Arc<str>, Value>, nothing: Nothing) {
    // Docker's types say it so, its documents otherwise.
    if let Some(id) = map.get("Id").cloned() {
        map.entry(Arc::from("ID")).or_insert(id);
    }
    let fields = LEFT_OUT
        .iter()
        .filter(|(mark, _)| map.contains_key(*mark))
        .flat_map(|(_, fields)| *fields);
    for (name, zero) in fields.collect::<Vec<_>>() {
        map.entry(Arc::from(*name)).or_insert_with(|| match zero {
            Zero::Nil => nothing.value(),
            Zero::Text => Value::from(String::new()),
            Zero::False => Value::Bool(false),
            Zero::Map => Value::Map(Arc::default()),
        });
    }
}

/// Back to JSON, as it was before [`convert`].
pub fn revert(value: &Value, shapes: &Shapes) -> Json {
    let shape = shapes.written.get(&address(value));
    match (value, shape) {
        (_, Some(Shape::Null)) => Json::Null,
        (_, Some(Shape::Empty)) => Json::Object(serde_json::Map::new()),
        (_, Some(Shape::Other(json))) => json.clone(),
        (Value::Bool(flag), _) => Json::from(*flag),
        (Value::Int(number), _) => Json::from(*number),
        (Value::Uint(number), _) => Json::from(*number),
        (Value::Float(number), _) => Json::from(*number),
        (Value::String(text), _) => Json::from(&**text),
        (Value::List(items), _) => items.iter().map(|item| revert(item, shapes)).collect(),
        (Value::Map(map), shape) => {
            let sorted: Vec<Arc<str>>;
            let keys = match shape {
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
