//! Signatures of tokens, checked by `ring`: the provider that `jsonwebtoken` is given, so that the
//! process has one library of cryptography, the one that TLS has. Nothing is signed here.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{Error, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::signature::{
    self, EcdsaVerificationAlgorithm, EdDSAParameters, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};

static PROVIDER: CryptoProvider =
    CryptoProvider { signer_factory, verifier_factory, key_utils: KeyUtils::new_unimplemented() };

/// Has tokens checked by `ring`. A provider that the program has chosen before stays.
pub(super) fn install() {
    let _ = PROVIDER.install_default();
}

fn signer_factory(_: &Algorithm, _: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    Err(ErrorKind::InvalidAlgorithm.into())
}

fn verifier_factory(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    let algorithm = *algorithm;
    if key.family() != Method::of(algorithm)?.family() {
        return Err(ErrorKind::InvalidKeyFormat.into());
    }
    Ok(Box::new(Ring { algorithm, key: key.clone() }))
}

/// How a signature is checked.
enum Method {
    Rsa(&'static RsaParameters),
    Ec(&'static EcdsaVerificationAlgorithm),
    Ed(&'static EdDSAParameters),
}

impl Method {
    /// HMAC has none: a public key must never be taken for a shared secret.
    fn of(algorithm: Algorithm) -> Result<Self> {
        Ok(match algorithm {
            Algorithm::RS256 => Self::Rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
            Algorithm::RS384 => Self::Rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
            Algorithm::RS512 => Self::Rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
            Algorithm::PS256 => Self::Rsa(&signature::RSA_PSS_2048_8192_SHA256),
            Algorithm::PS384 => Self::Rsa(&signature::RSA_PSS_2048_8192_SHA384),
            Algorithm::PS512 => Self::Rsa(&signature::RSA_PSS_2048_8192_SHA512),
            Algorithm::ES256 => Self::Ec(&signature::ECDSA_P256_SHA256_FIXED),
            Algorithm::ES384 => Self::Ec(&signature::ECDSA_P384_SHA384_FIXED),
            Algorithm::EdDSA => Self::Ed(&signature::ED25519),
            _ => return Err(ErrorKind::InvalidAlgorithm.into()),
        })
    }

    fn family(&self) -> jsonwebtoken::AlgorithmFamily {
        match self {
            Self::Rsa(_) => jsonwebtoken::AlgorithmFamily::Rsa,
            Self::Ec(_) => jsonwebtoken::AlgorithmFamily::Ec,
            Self::Ed(_) => jsonwebtoken::AlgorithmFamily::Ed,
        }
    }
}

struct Ring {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl JwtVerifier for Ring {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for Ring {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        let wrong = |_| Error::new();
        let method = Method::of(self.algorithm).map_err(|_| Error::new())?;
        match (method, self.key.kind()) {
            (Method::Rsa(parameters), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                let key = RsaPublicKeyComponents { n: unpadded(n), e: unpadded(e) };
                key.verify(parameters, message, signature).map_err(wrong)
            }
            (Method::Ec(algorithm), DecodingKeyKind::SecretOrDer(key)) => {
                plain(algorithm, key, message, signature)
            }
            (Method::Ed(algorithm), DecodingKeyKind::SecretOrDer(key)) => {
                plain(algorithm, key, message, signature)
            }
            _ => Err(Error::new()),
        }
    }
}

fn plain(
    algorithm: &'static dyn VerificationAlgorithm,
    key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> std::result::Result<(), Error> {
    UnparsedPublicKey::new(algorithm, key).verify(message, signature).map_err(|_| Error::new())
}

/// A number without zeros before it, which some issuers write and `ring` takes for a wrong key.
fn unpadded(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}
