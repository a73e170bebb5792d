//! A reply's code: the fenced blocks of its Markdown, and which of them replaces the file. Pure.
//!
//! Blocks are those of CommonMark, with `~~~`, longer fences around shorter ones, and blocks inside lists.
//! One whose closing fence never came is told from a whole one: what was cut is not applied.

use kipper_function::function::Runtime;
use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};

/// A fenced block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The first word behind the fence, in lower case; may be empty.
    pub language: String,
    /// What is in it.
    pub code: String,
    /// Did its closing fence come?
    pub closed: bool,
}

/// Every fenced block, in its order.
pub fn blocks(markdown: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (event, range) in Parser::new(markdown).into_offset_iter() {
        match (event, &mut open) {
            (Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))), _) => {
                let word = info.split(|c: char| c.is_whitespace() || c == ',' || c == '{').next();
                let language = word.unwrap_or_default().to_ascii_lowercase();
                open = Some(Block { language, code: String::new(), closed: false });
            }
            (Event::Text(text), Some(block)) => block.code.push_str(&text),
            (Event::End(TagEnd::CodeBlock), _) => {
                blocks.extend(open.take().map(|block| Block {
                    closed: is_closed(&markdown[range], &block.code),
                    ..block
                }));
            }
            _ => {}
        }
    }
    blocks
}

/// Is the last line of a block's text its closing fence, rather than a line of its code that looks like one?
fn is_closed(block: &str, code: &str) -> bool {
    let Some(fence) = block.chars().next() else { return false };
    let opening = block.chars().take_while(|&c| c == fence).count();
    // In a quotation every line begins with its mark.
    let last = block.lines().last().unwrap_or_default();
    let last = last.trim_start_matches([' ', '\t', '>']).trim_end();
    let is_fence = last.len() >= opening && last.chars().all(|c| c == fence);
    is_fence && block.lines().count() == code.lines().count() + 2
}

/// The block that replaces the file: closed, in the runtime's language, whole rather than partial, and
/// of several the longest: a file is longer than what is quoted from it.
pub fn file(blocks: &[Block], runtime: Runtime) -> Option<&Block> {
    let fitting = blocks.iter().filter(|block| block.closed && block.is_in(runtime));
    fitting.max_by_key(|block| (block.partial().is_none(), block.code.len()))
}

impl Block {
    /// Is it code of this runtime?
    pub fn is_in(&self, runtime: Runtime) -> bool {
        let names: &[&str] = match runtime {
            Runtime::Node => &[
                "javascript",
                "js",
                "mjs",
                "cjs",
                "node",
                "nodejs",
                "typescript",
                "ts",
                "mts",
                "cts",
            ],
            Runtime::Python => &["python", "py", "python3"],
        };
        names.contains(&self.language.as_str())
    }

    /// The line that says that something was left out, of a block that is no whole file.
    pub fn partial(&self) -> Option<&str> {
        self.code.lines().map(str::trim).find(|line| is_omission(line, &self.language))
    }
}

/// What comments begin with.
const COMMENTS: [&str; 5] = ["//", "#", "/*", "<!--", "--"];
/// What a comment says that stands in place of code.
const OMISSIONS: [&str; 14] = [
    "rest of the code",
    "rest of your code",
    "rest of the file",
    "rest of the function",
    "rest of the handler",
    "rest of the logic",
    "rest unchanged",
    "existing code",
    "code unchanged",
    "remains unchanged",
    "remains the same",
    "stays the same",
    "same as before",
    "previous code",
];
/// Beside dots, words that make a comment one.
const WORDS: [&str; 9] = [
    "rest",
    "existing",
    "unchanged",
    "remaining",
    "same",
    "previous",
    "code",
    "logic",
    "implementation",
];

fn is_omission(line: &str, language: &str) -> bool {
    let is_dots = |text: &str| text == "..." || text == "\u{2026}";
    // Python has a statement of three dots.
    if is_dots(line) {
        return !language.starts_with("py");
    }
    let Some(mark) = COMMENTS.iter().find(|mark| line.starts_with(*mark)) else { return false };
    let comment = line[mark.len()..].trim_end_matches("*/").trim_end_matches("-->");
    let comment = comment.trim().to_lowercase();
    if is_dots(&comment) || OMISSIONS.iter().any(|words| comment.contains(words)) {
        return true;
    }
    let dots = |dots: &str| comment.starts_with(dots) || comment.ends_with(dots);
    let mut words = comment.split(|c: char| !c.is_alphanumeric());
    (dots("...") || dots("\u{2026}")) && words.any(|word| WORDS.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(markdown: &str, expected: &[(&str, &str, bool)]) {
        let blocks = blocks(markdown);
        let found: Vec<_> =
            blocks.iter().map(|b| (b.language.as_str(), b.code.as_str(), b.closed)).collect();
        assert_eq!(found, expected, "{markdown}");
    }

    #[test]
    fn blocks_are_found() {
        check("no code", &[]);
        check("a\n\n```js\nx\n```\n\nb", &[("js", "x\n", true)]);
        check("```js\r\nx\r\n\r\ny\r\n```\r\n", &[("js", "x\n\ny\n", true)]);
        check("```Python title=\"a\"\nx\n```", &[("python", "x\n", true)]);
        check("```js,ignore\n```\n~~~\ny\n~~~", &[("js", "", true), ("", "y\n", true)]);
        check("`inline` and ``` x ```", &[]);
        check("    indented\n", &[]);
    }

    #[test]
    fn a_fence_closes_its_own_block_only() {
        check("````md\n```js\nx\n```\n````\n", &[("md", "```js\nx\n```\n", true)]);
        check("~~~py\n```\nx\n~~~", &[("py", "```\nx\n", true)]);
        check("```py\n~~~\n```", &[("py", "~~~\n", true)]);
        check("```js\nx\n``` js\n```", &[("js", "x\n``` js\n", true)]);
        check("```js\nx\n`````   \n", &[("js", "x\n", true)]);
        check("```js\n    ```\n```", &[("js", "    ```\n", true)]);
    }

    #[test]
    fn blocks_of_lists_and_quotations_lose_their_indentation() {
        check(
            "1. a\n\n   ```py\n   def f():\n       x\n   ```\n",
            &[("py", "def f():\n    x\n", true)],
        );
        check("- a\n  - b\n    ```py\n    x\n    ```\n", &[("py", "x\n", true)]);
        check("> ```py\n> x\n> ```\n", &[("py", "x\n", true)]);
    }

    #[test]
    fn what_was_cut_is_not_closed() {
        let whole = "text\n\n```js\nconst a = `x`\nconst b = 1\n```";
        for end in 0..whole.len() {
            let blocks = blocks(&whole[..end]);
            assert!(blocks.iter().all(|block| !block.closed), "{end}: {blocks:?}");
        }
        check(whole, &[("js", "const a = `x`\nconst b = 1\n", true)]);
        check("```", &[("", "", false)]);
        check("````js\nx\n```\n", &[("js", "x\n```\n", false)]);
        check("> ```js\n> x\n\nafter", &[("js", "x\n", false)]);
        check("- ```js\n  x\n\nafter", &[("js", "x\n\n", false)]);
        check("```js\nx\n    ```\n", &[("js", "x\n    ```\n", false)]);
        check("> ```js\n> x\n> > ```\n", &[("js", "x\n> ```\n", false)]);
    }

    #[test]
    fn the_whole_file_in_the_right_language_is_applied() {
        let reply = "```bash\nnpm i\n```\n```js\nshort\n```\n```js\nthe whole file\n```\n```python\nx\n```\n```js\nthe whole file, cut\n";
        let code =
            |reply: &str, runtime| file(&blocks(reply), runtime).map(|block| block.code.clone());
        assert_eq!(code(reply, Runtime::Node).as_deref(), Some("the whole file\n"));
        assert_eq!(code(reply, Runtime::Python).as_deref(), Some("x\n"));
        assert_eq!(code("```\nx\n```", Runtime::Node), None);
        assert_eq!(code("```ts\nx\n```", Runtime::Node).as_deref(), Some("x\n"));
        // A whole file comes before a longer partial one; a partial one is better than none.
        let partial = "```js\n// ... existing code ...\nconst longer = 1\n```\n";
        assert_eq!(code(&format!("{partial}```js\nx\n```"), Runtime::Node).as_deref(), Some("x\n"));
        assert!(code(partial, Runtime::Node).is_some());
    }

    #[test]
    fn what_was_left_out_is_noticed() {
        let partial = |language: &str, code: &str| {
            let block =
                Block { language: language.to_owned(), code: code.to_owned(), closed: true };
            block.partial().map(str::to_owned)
        };
        for line in [
            "// ...",
            "  // rest of the code unchanged",
            "# ... existing code ...",
            "#...",
            "/* ... */",
            "// \u{2026}",
            "// ... (rest of the handler)",
            "# The rest of your code remains the same",
            "// ... same as before",
            "/* existing code */",
            "...",
            "// \u{2026} unchanged",
            "// previous code here",
            "-- ... rest",
        ] {
            let code = format!("const a = 1\n{line}\nconst b = 2\n");
            assert_eq!(partial("js", &code).as_deref(), Some(line.trim()), "{line}");
        }
        for line in [
            "const rest = [...items]",
            "  ...options,",
            "f(...args)",
            "// wait for the rest",
            "# Loading...",
            "// unchanged rows are skipped",
            "const text = '... existing code ...'",
            "# the same key twice",
            "// retry, then give up ...",
            "#!/usr/bin/env python3",
        ] {
            assert_eq!(partial("js", line), None, "{line}");
        }
        assert_eq!(partial("python", "class A(Protocol):\n    def f(self):\n        ...\n"), None);
    }
}
