//! MySQL's binary JSON as the text that the server prints (MySQL 9.1, `sql-common/json_binary.{h,cc}`
//! and `json_dom.cc`), and the differences that partial updates hold (`json_diff.cc`).
//!
//! Nothing of it was compared with a real MySQL 8: none was at hand.

mod binary;
mod diff;
mod number;
mod print;

pub(super) use diff::apply;
pub(crate) use number::double;
pub(super) use print::print;
