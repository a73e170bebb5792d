//! The estimate against what two vocabularies really make of a text.
//!
//! Counted once, without special tokens, with OpenAI's `o200k_base` (GPT-4o and later) and with the
//! vocabulary of Llama 3; the texts are questions as they are asked here.

use kipper_assistant::{Prompt, Role, Turn};

/// Text, tokens by `o200k_base`, by Llama 3.
const COUNTED: [(&str, u32, u32); 12] = [
    (include_str!("../prompts/chinese.txt"), 122, 128),
    (include_str!("../prompts/english.txt"), 241, 241),
    (include_str!("../prompts/german.txt"), 199, 239),
    (include_str!("../prompts/japanese.txt"), 116, 115),
    (include_str!("../prompts/java.txt"), 369, 349),
    (include_str!("../prompts/json.txt"), 314, 314),
    (include_str!("../prompts/log.txt"), 322, 321),
    (include_str!("../prompts/node.txt"), 365, 365),
    (include_str!("../prompts/python.txt"), 380, 364),
    (include_str!("../prompts/russian.txt"), 102, 126),
    (include_str!("../prompts/sql.txt"), 226, 226),
    (include_str!("../prompts/xml.txt"), 324, 309),
];

#[test]
fn estimates_are_within_a_quarter() {
    for (text, one, other) in COUNTED {
        let turn = Turn { role: Role::User, text: text.to_owned() };
        let estimate = Prompt { system: String::new(), turns: vec![turn] }.tokens();
        let estimate = f64::from(u32::try_from(estimate).unwrap());
        let begin: String = text.chars().take(30).collect();
        for counted in [one, other] {
            let off = estimate / f64::from(counted) - 1.0;
            println!("{begin:?}: {estimate} for {counted}, {:+.0} %", off * 100.0);
            assert!(off.abs() <= 0.25, "{begin:?}: {estimate} for {counted}");
        }
    }
}
