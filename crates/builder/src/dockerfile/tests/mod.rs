use super::*;

mod heredocs;
mod instructions;
mod lines;
mod print;

fn ok(text: &str) -> Dockerfile {
    parse(text).unwrap_or_else(|errors| panic!("{errors}")).file
}

/// The instructions after `FROM a`.
fn body(text: &str) -> Vec<Instruction> {
    let mut file = ok(&format!("FROM a\n{text}"));
    file.stages.remove(0).instructions
}

fn only(text: &str) -> InstructionKind {
    let mut body = body(text);
    assert_eq!(body.len(), 1, "{body:?}");
    body.remove(0).kind
}

fn errors(text: &str) -> Vec<String> {
    parse(text)
        .expect_err(text)
        .errors()
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn texts(words: &[Word]) -> Vec<&str> {
    words.iter().map(|word| word.text.as_str()).collect()
}
