//! Hashes, by PostgreSQL's names: `md5` of text or bytes as hexadecimal text, the SHA-2 family of
//! either as bytes (`encode(sha256(x), 'hex')` is text).

use super::text::{binary_array, call};
use datafusion_common::arrow::array::{Array, ArrayRef, BinaryBuilder, StringBuilder};
use datafusion_common::arrow::datatypes::DataType;
use datafusion_common::{Result, plan_err};
use datafusion_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use md5::{Digest, Md5};
use sha2::{Sha224, Sha256, Sha384, Sha512};
use std::any::Any;
use std::fmt::Write;
use std::sync::Arc;

pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    let all = [
        Algorithm::Md5,
        Algorithm::Sha224,
        Algorithm::Sha256,
        Algorithm::Sha384,
        Algorithm::Sha512,
    ];
    all.into_iter().map(|algorithm| Arc::new(ScalarUDF::from(Hash::new(algorithm)))).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Algorithm {
    Md5,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Hash {
    algorithm: Algorithm,
    signature: Signature,
}

impl Hash {
    fn new(algorithm: Algorithm) -> Self {
        Self { algorithm, signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn digest(&self, bytes: &[u8]) -> Vec<u8> {
        match self.algorithm {
            Algorithm::Md5 => Md5::digest(bytes).to_vec(),
            Algorithm::Sha224 => Sha224::digest(bytes).to_vec(),
            Algorithm::Sha256 => Sha256::digest(bytes).to_vec(),
            Algorithm::Sha384 => Sha384::digest(bytes).to_vec(),
            Algorithm::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }
}

impl ScalarUDFImpl for Hash {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        match self.algorithm {
            Algorithm::Md5 => "md5",
            Algorithm::Sha224 => "sha224",
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha384 => "sha384",
            Algorithm::Sha512 => "sha512",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null] => {
                Ok(vec![DataType::Utf8])
            }
            [DataType::Binary | DataType::LargeBinary | DataType::BinaryView] => {
                Ok(vec![DataType::Binary])
            }
            [other] => plan_err!("{} takes text or bytes, not {other}; cast it", self.name()),
            _ => plan_err!("{} takes one argument", self.name()),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.algorithm {
            Algorithm::Md5 => DataType::Utf8,
            _ => DataType::Binary,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        call(&args, |arrays| {
            let input = binary_array(&arrays[0])?;
            let digests = (0..input.len())
                .map(|row| input.is_valid(row).then(|| self.digest(input.value(row))));
            Ok(match self.algorithm {
                Algorithm::Md5 => hex(digests),
                _ => {
                    let mut builder = BinaryBuilder::new();
                    digests.for_each(|digest| builder.append_option(digest));
                    Arc::new(builder.finish())
                }
            })
        })
    }
}

fn hex(digests: impl Iterator<Item = Option<Vec<u8>>>) -> ArrayRef {
    let mut builder = StringBuilder::new();
    for digest in digests {
        builder.append_option(digest.map(|digest| {
            digest.iter().fold(String::with_capacity(32), |mut text, byte| {
                write!(text, "{byte:02x}").expect("writing to a String does not fail");
                text
            })
        }));
    }
    Arc::new(builder.finish())
}
