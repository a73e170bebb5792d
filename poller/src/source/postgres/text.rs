//! Values as PostgreSQL's own text, which every type can be read from and written to. Nothing here
//! becomes part of a statement: it travels as parameters.

use std::error::Error;

use bytes::BytesMut;
use tokio_postgres::types::{Format, IsNull, ToSql, Type};

/// A parameter in the text format; the server reads it as the parameter's type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a>(pub(super) Option<&'a str>);

impl ToSql for Text<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let Some(text) = self.0 else { return Ok(IsNull::Yes) };
        out.extend_from_slice(text.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn to_sql_checked(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.to_sql(ty, out)
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }
}

/// An array literal of these elements (PostgreSQL's manual, 8.15.6): each one quoted, so that none is
/// read as NULL or as a delimiter.
pub(super) fn array<'a>(elements: impl IntoIterator<Item = &'a str>) -> String {
    let mut literal = String::from("{");
    for (at, element) in elements.into_iter().enumerate() {
        literal.push_str(if at == 0 { "\"" } else { ",\"" });
        for c in element.chars() {
            if matches!(c, '"' | '\\') {
                literal.push('\\');
            }
            literal.push(c);
        }
        literal.push('"');
    }
    literal.push('}');
    literal
}

#[cfg(test)]
mod tests {
    use super::array;

    #[test]
    fn elements_are_quoted() {
        assert_eq!(array([]), "{}");
        assert_eq!(array(["1", "NULL", "a,b}", r#"q"\"#, ""]), r#"{"1","NULL","a,b}","q\"\\",""}"#);
    }
}
