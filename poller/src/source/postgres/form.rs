//! One form of values, whatever the session has: for keys, JSON and marks.
//!
//! A query selects by the time zone and the formats that its role and database have; what is made of
//! its rows must not depend on them, or a row would have another key after a change of a setting. So
//! the settings are changed inside the statement, once its rows are all there, and end with its
//! transaction.

use tokio_postgres::types::{Kind, Type};

/// Settings by which values are written as text.
const SETTINGS: &[(&str, &str)] = &[
    ("timezone", "UTC"),
    ("datestyle", "ISO, MDY"),
    ("intervalstyle", "postgres"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "1"),
];

/// Whether the text of a type depends on a setting, as far as is known.
pub(super) fn varies(ty: &Type) -> bool {
    const FIXED: &[Type] = &[
        Type::BOOL,
        Type::INT2,
        Type::INT4,
        Type::INT8,
        Type::OID,
        Type::NUMERIC,
        Type::TEXT,
        Type::VARCHAR,
        Type::BPCHAR,
        Type::NAME,
        Type::CHAR,
        Type::UUID,
        Type::JSON,
        Type::JSONB,
        Type::INET,
        Type::CIDR,
        Type::MACADDR,
        Type::BIT,
        Type::VARBIT,
    ];
    match ty.kind() {
        Kind::Enum(_) => false,
        Kind::Array(element) => varies(element),
        Kind::Domain(base) => varies(base),
        _ => !FIXED.contains(ty),
    }
}

/// `WITH` and `FROM` of a statement over these rows, which are called `__kp` in it. With `fixed`,
/// whatever the statement writes is in the one form.
pub(super) fn over(rows: &str, fixed: bool) -> (String, &'static str) {
    let rows = format!("WITH __kp AS MATERIALIZED ({rows})");
    if !fixed {
        return (rows, "FROM __kp");
    }
    // The count needs all rows, and each setting needs the count.
    let set = |(name, value): &(&str, &str)| {
        format!("set_config('{name}', CASE WHEN n.rows >= 0 THEN '{value}' END, true)")
    };
    let settings: Vec<String> = SETTINGS.iter().map(set).collect();
    let form = format!(
        "{rows}, __kp_form AS MATERIALIZED (SELECT {} FROM (SELECT count(*) AS rows FROM __kp) n)",
        settings.join(", ")
    );
    (form, "FROM __kp_form CROSS JOIN __kp")
}

/// Gives a transaction that goes on the settings of its session back.
pub(super) fn restore() -> String {
    let reset = |(name, _): &(&str, &str)| format!("SET LOCAL {name} TO DEFAULT");
    SETTINGS.iter().map(reset).collect::<Vec<_>>().join("; ")
}
