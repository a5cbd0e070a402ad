//! PostgreSQL's types as ours, and how their binary cells are read.
//!
//! `resolve` chooses a `Reader` by what the catalog says of a type; the reader hands each cell to the
//! visitor: most by a method of their own, arrays and composite types part by part (`array`,
//! `composite`), all that Avro has no type for as PostgreSQL's text (`text`). Pure: no I/O, and any
//! bytes are read or refused.
//!
//! Binary forms: the `*_send` functions of PostgreSQL 18, `src/backend/utils/adt/`.

mod array;
mod bytes;
mod composite;
mod reader;
mod resolve;
mod text;

pub(crate) use composite::{Composite, altered};
pub(crate) use reader::{Reader, days_since_2000, micros_since_2000};
pub(crate) use resolve::{AttributeInfo, Refused, TypeInfo, Types};
pub(crate) use text::{Printer, QUOTED_IN_ARRAY, QUOTED_IN_COMPOSITE, Quoted, quote_from};
