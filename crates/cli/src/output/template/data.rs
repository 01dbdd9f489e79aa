//! JSON as a template's data, and back again as it was.

use std::collections::{BTreeMap, HashMap};
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

/// How `json` has to write a value that the template engine cannot hold as it was: keys in their order, and `null`
/// for a list that is none. By the address of the value.
#[derive(Default)]
pub struct Shapes(HashMap<usize, Shape>);

enum Shape {
    Keys(Vec<Arc<str>>),
    Null,
}

impl Shapes {
    /// Forgets the values of before.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// JSON for a template; `shapes` keeps what gets lost.
pub fn convert(json: &Json, shapes: &mut Shapes) -> Value {
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
pub fn revert(value: &Value, shapes: &Shapes) -> Json {
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
