//! Docker's template functions.

use std::sync::{Arc, Mutex, PoisonError};

use gotmpl::{TemplateError, Value};

use super::data::{LABELS_KEY, Shapes, revert};
use super::{Functions, is_word};

/// Adds the functions to a template.
pub fn register(
    template: gotmpl::Template,
    functions: Functions,
    shapes: &Arc<Mutex<Shapes>>,
) -> gotmpl::Template {
    let template = template.func("pad", pad);
    match functions {
        Functions::Values => {
            let (of_json, of_index) = (Arc::clone(shapes), Arc::clone(shapes));
            template
                .func("json", move |args| {
                    let shapes = of_json.lock().unwrap_or_else(PoisonError::into_inner);
                    Ok(Value::from(
                        revert(argument("json", args, 0)?, &shapes).to_string(),
                    ))
                })
                .func("index", move |args| {
                    let shapes = of_index.lock().unwrap_or_else(PoisonError::into_inner);
                    index(args, &shapes)
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
    }
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

/// What is not there in a map of texts is an empty one.
fn index(args: &[Value], shapes: &Shapes) -> gotmpl::Result<Value> {
    let found = argument("index", args, 0)?.clone();
    args[1..].iter().try_fold(found, |within, at| {
        Ok(match within.index(at)? {
            Value::Nil if shapes.has_texts(&within) => Value::from(String::new()),
            found => found,
        })
    })
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
