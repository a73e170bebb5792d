//! The lines in which a load says where it stands, to whoever measures meanwhile.

use std::io::Write as _;

/// What the process prints when the measured window begins.
pub const MEASURING: &str = "measuring";
/// What the process prints when the measured window ends.
pub const MEASURED: &str = "measured";

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The measured window began.
    Measuring,
    /// The measured window ended.
    Measured,
}

/// Prints the line of a mark.
pub(super) fn print(mark: Mark) {
    let line = match mark {
        Mark::Measuring => MEASURING,
        Mark::Measured => MEASURED,
    };
    // The reader of a closed pipe does not want the line.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
