//! What moves through Tidemesh: positions, table schemas, rows that are visited and not built,
//! change events, the settings of sources, and the one error type.
//!
//! Everything else imports this crate; it imports nothing of ours. Absent here: I/O, tasks, wire
//! formats, and any database's own types.

mod calendar;
mod data_type;
mod error;
mod event;
mod pattern;
mod position;
mod row;
mod schema;
mod settings;
mod shaping;
mod source_kind;
mod topic_name;
mod value;

pub use calendar::{civil, days_of};
pub use data_type::{DataType, RecordField, RecordType};
pub use error::{Error, ErrorKind, Remedy, Result};
pub use event::{
    BlockCell, BlockField, BlockType, Change, ChangeBatch, ChangeVisitor, Operation, Origin,
    SourceBlock, StateItem,
};
pub use pattern::{ColumnPattern, TablePattern, glob};
pub use position::Position;
pub use row::{CellVisitor, RowImage, Values};
pub use schema::{Field, KeyOrigin, RowKey, TableName, TableSchema};
pub use settings::{
    CONNECTORS, CleanupPolicy, EMIT_PREFIX, EmitSettings, EnvelopeForm, EventFormat, MysqlSettings,
    MysqlTime, MysqlTypes, NumericSpecial, OnIncompatible, OnPositionLost, OutboxFormat,
    OutboxSettings, PostgresSettings, RowTypes, Secret, SecretsMut, SnapshotMode, SnapshotSettings,
    SourceSettings, TlsMode, Toast, TopicSettings, TruncateMode, UnsignedBigint, ZeroDates,
};
pub use shaping::{MaskForm, MaskSettings, Partitions};
pub use source_kind::SourceKind;
pub use topic_name::{TOPIC_NAME_BYTES_MAX, is_topic_name};
pub use value::{DecimalRef, Value, decimal_text};
