//! Certificates for tests: an authority, whom it knows, and whom it does not.

use super::folder::Folder;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// A certificate with its key, as PEM files.
#[derive(Debug, Clone)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Key and certificate in one file.
    pub both: PathBuf,
}

/// PEM files in one folder.
#[derive(Debug)]
pub struct Certificates {
    /// The authority that every server and every client trusts.
    pub ca: PathBuf,
    /// An authority that signed nothing here but [`Certificates::stranger`].
    pub other_ca: PathBuf,
    /// For `localhost` and `127.0.0.1`.
    pub server: Identity,
    /// The same, but its time is over.
    pub expired: Identity,
    /// A client by the name of `client-a`.
    pub client: Identity,
    /// A client that says `client-a` too, by the other authority.
    pub stranger: Identity,
}

type Authority = Issuer<'static, KeyPair>;

impl Certificates {
    /// Those of the servers that tests start.
    ///
    /// # Panics
    /// If they cannot be made.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<(Folder, Certificates)> = OnceLock::new();
        let made = || {
            let folder = Folder::new("certificates");
            let certificates = Self::new(folder.path());
            (folder, certificates)
        };
        &SHARED.get_or_init(made).1
    }

    /// New ones in this folder.
    ///
    /// # Panics
    /// If they cannot be made.
    pub fn new(dir: &Path) -> Self {
        let (ca, authority) = new_authority(dir, "ca");
        let (other_ca, other_authority) = new_authority(dir, "other-ca");
        let server = || params("localhost", ExtendedKeyUsagePurpose::ServerAuth);
        let client = || params("client-a", ExtendedKeyUsagePurpose::ClientAuth);
        let mut expired = server();
        (expired.not_before, expired.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        Self {
            server: identity(dir, "server", &server(), &authority),
            expired: identity(dir, "expired", &expired, &authority),
            client: identity(dir, "client", &client(), &authority),
            stranger: identity(dir, "stranger", &client(), &other_authority),
            ca,
            other_ca,
        }
    }
}

fn new_authority(dir: &Path, name: &str) -> (PathBuf, Authority) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("lockstep tests {name}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().expect("a key can be made");
    let certificate = params.self_signed(&key).expect("an authority signs itself");
    let file = write(dir, &format!("{name}.crt"), &certificate.pem());
    (file, Issuer::new(params, key))
}

fn params(name: &str, usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let names = vec![name.to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let mut params = CertificateParams::new(names).expect("these are names");
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    params
}

fn identity(dir: &Path, name: &str, params: &CertificateParams, authority: &Authority) -> Identity {
    let key = KeyPair::generate().expect("a key can be made");
    let certificate = params.signed_by(&key, authority).expect("an authority signs").pem();
    let key = key.serialize_pem();
    Identity {
        certificate: write(dir, &format!("{name}.crt"), &certificate),
        key: write(dir, &format!("{name}.key"), &key),
        both: write(dir, &format!("{name}.pem"), &format!("{key}{certificate}")),
    }
}

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let file = dir.join(name);
    fs::write(&file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    file
}
