//! TLS for catalogues: which certificates are accepted, and the client's own certificate.
//!
//! Files are read once, when the catalogue is opened, so that a missing file is reported at the start. A
//! fingerprint of their contents is part of the plan, so that a reload opens the catalogue again if a
//! certificate was replaced. If a file or folder of authorities is configured, the system's authorities are
//! not trusted. A server's own certificate in that file is accepted, if its name and dates are valid, as curl
//! does; so a self-signed certificate needs no authority.

use crate::cause;
use crate::ports::CatalogueError;
use domain::plan::Tls;
use nix::fcntl::OFlag;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::error::Error;
use std::fs::{self, OpenOptions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The size limit on a file with certificates or a key, in bytes (docs/bounds.md)
const LONGEST_FILE: usize = 4 * 1024 * 1024;
/// The limit on files in a folder of authorities (docs/bounds.md)
const MOST_FILES: usize = 1024;
/// HTTP/2 in the protocol list of TLS (ALPN).
const HTTP2: &[u8] = b"h2";
/// HTTP/1.1 there.
const HTTP1: &[u8] = b"http/1.1";

/// The TLS client for one server: its settings, and the name that the server's certificate must be for.
#[derive(Clone, Debug)]
pub struct Secured {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    requires_http2: bool,
}

impl Secured {
    /// TLS to this host with these settings.
    ///
    /// # Errors
    /// A file cannot be read, its content is invalid, or the host is not a valid name.
    pub fn new(tls: &Tls, host: &str) -> Result<Self, CatalogueError> {
        Ok(Self {
            config: config(tls)?,
            name: server_name(tls, host)?,
            requires_http2: false,
        })
    }

    /// As [`Secured::new`], and the server has to speak HTTP/2.
    ///
    /// # Errors
    /// As [`Secured::new`].
    pub fn requiring_http2(tls: &Tls, host: &str) -> Result<Self, CatalogueError> {
        let mut secured = Self::new(tls, host)?;
        Arc::make_mut(&mut secured.config).alpn_protocols = vec![HTTP2.to_vec()];
        secured.requires_http2 = true;
        Ok(secured)
    }

    /// As [`Secured::new`], and the server chooses between HTTP/2 and HTTP/1.1 ([`uses_http2`]).
    ///
    /// # Errors
    /// As [`Secured::new`].
    pub fn offering_http2(tls: &Tls, host: &str) -> Result<Self, CatalogueError> {
        let mut secured = Self::new(tls, host)?;
        Arc::make_mut(&mut secured.config).alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
        Ok(secured)
    }

    /// The same settings for another host.
    ///
    /// # Errors
    /// The host is not a valid name.
    pub fn renamed(&self, tls: &Tls, host: &str) -> Result<Self, CatalogueError> {
        Ok(Self {
            name: server_name(tls, host)?,
            ..self.clone()
        })
    }

    /// Performs the handshake over an open stream.
    ///
    /// # Errors
    /// The handshake fails ([`in_words`] describes why), or the server does not speak the required protocol.
    pub async fn handshake<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let stream = connector.connect(self.name.clone(), stream).await?;
        if self.requires_http2 && !uses_http2(&stream) {
            return Err(io::Error::other("whoever listens there does not speak HTTP/2"));
        }
        Ok(stream)
    }
}

/// Whether the server chose HTTP/2 in the handshake.
pub fn uses_http2<S>(stream: &TlsStream<S>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(HTTP2)
}

/// The configuration of the TLS client for these settings.
///
/// # Errors
/// A file cannot be read, or its content is invalid.
fn config(tls: &Tls) -> Result<Arc<ClientConfig>, CatalogueError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder
        .with_safe_default_protocol_versions()
        .map_err(|error| CatalogueError::Failed(error.to_string()))?;
    let builder = builder
        .dangerous()
        .with_custom_certificate_verifier(verifier(tls, provider)?);
    let config = match client_identity(tls)? {
        None => builder.with_no_client_auth(),
        Some(client_identity) => {
            let unfit = |error: &dyn Error| unfit(&client_identity.file, error);
            let certificates = certificates(&client_identity.certificate).map_err(|error| unfit(&error))?;
            let key = PrivateKeyDer::from_pem_slice(&client_identity.key).map_err(|error| unfit(&error))?;
            let config = builder.with_client_auth_cert(certificates, key);
            config.map_err(|error| unfit(&error))?
        }
    };
    Ok(Arc::new(config))
}

/// The name that the server's certificate must be for: the one in the settings, otherwise the host.
///
/// # Errors
/// It is not a valid name.
fn server_name(tls: &Tls, host: &str) -> Result<ServerName<'static>, CatalogueError> {
    let name = tls
        .server_name
        .as_deref()
        .unwrap_or(host)
        .trim_matches(['[', ']']);
    ServerName::try_from(name.to_owned())
        .map_err(|error| CatalogueError::Failed(format!("'{name}' is not a server name: {error}")))
}

/// A fingerprint of the files' contents; 0 without files.
pub fn contents(tls: &Tls) -> u64 {
    let Tls {
        ca_file,
        ca_path,
        client,
        ..
    } = tls;
    if ca_file.is_none() && ca_path.is_none() && client.is_none() {
        return 0;
    }
    let mut hash = DefaultHasher::new();
    let folder = ca_path
        .as_ref()
        .and_then(|folder| files_in(Path::new(folder)).ok());
    let own = client.iter().flat_map(|(file, key)| [file, key]);
    let named = ca_file.iter().chain(own).map(PathBuf::from);
    for file in named.chain(folder.into_iter().flatten()) {
        // A file that cannot be read is reported when the catalogue is opened.
        (&file, read(&file).ok()).hash(&mut hash);
    }
    hash.finish()
}

/// Describes why a handshake failed and what to do about it.
pub fn in_words(error: &io::Error) -> String {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidMessage(_)) => {
            format!("whoever listens there does not speak TLS, which https needs: {error}")
        }
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the connection was closed during the TLS handshake; whoever listens there may not speak TLS"
                .into()
        }
        _ => cause::in_full(error),
    }
}

/// The contents of the CA file and of every file in the CA folder; `None` if neither is configured.
fn authorities(tls: &Tls) -> Result<Option<Vec<Vec<u8>>>, CatalogueError> {
    if tls.ca_file.is_none() && tls.ca_path.is_none() {
        return Ok(None);
    }
    let mut files: Vec<PathBuf> = tls.ca_file.iter().map(PathBuf::from).collect();
    if let Some(folder) = &tls.ca_path {
        files.extend(files_in(Path::new(folder))?);
    }
    files
        .iter()
        .map(|file| authority(file))
        .collect::<Result<_, _>>()
        .map(Some)
}

/// The files in a folder, in the order of their names.
fn files_in(folder: &Path) -> Result<Vec<PathBuf>, CatalogueError> {
    let entries = fs::read_dir(folder).map_err(|error| unreadable(folder, &error))?;
    let files = entries.flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.is_file()).take(MOST_FILES + 1).collect();
    if files.len() > MOST_FILES {
        let sentence = format!("{} has more than {MOST_FILES} files", folder.display());
        return Err(CatalogueError::Failed(sentence));
    }
    files.sort();
    Ok(files)
}

fn authority(file: &Path) -> Result<Vec<u8>, CatalogueError> {
    let text = read(file)?;
    let found = certificates(&text).map_err(|error| unfit(&file.display().to_string(), &error))?;
    if found.is_empty() {
        return Err(CatalogueError::Failed(format!(
            "{} has no certificate in it",
            file.display()
        )));
    }
    Ok(text)
}

fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    CertificateDer::pem_slice_iter(text).collect()
}

/// The client's own certificate and its key.
struct ClientIdentity {
    /// The content of the certificate's file.
    certificate: Vec<u8>,
    /// The content of the key's file.
    key: Vec<u8>,
    /// The path of the certificate's file.
    file: String,
}

/// Reads the client's own certificate and key, if they are configured.
fn client_identity(tls: &Tls) -> Result<Option<ClientIdentity>, CatalogueError> {
    let Some((file, key_file)) = &tls.client else {
        return Ok(None);
    };
    let (certificate, key) = (read(Path::new(file))?, read(Path::new(key_file))?);
    let found = certificates(&certificate).map_err(|error| unfit(file, &error))?;
    if found.is_empty() {
        return Err(CatalogueError::Failed(format!("{file} has no certificate in it")));
    }
    PrivateKeyDer::from_pem_slice(&key).map_err(|error| unfit(key_file, &error))?;
    Ok(Some(ClientIdentity {
        certificate,
        key,
        file: file.clone(),
    }))
}

/// Reads a regular file up to the size limit. Other kinds of files are refused, because reading them could
/// block or never end.
fn read(file: &Path) -> Result<Vec<u8>, CatalogueError> {
    let unreadable = |error: io::Error| unreadable(file, &error);
    let not = |what: String| CatalogueError::Failed(format!("{} is {what}", file.display()));
    let options = OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(options.bits())
        .open(file);
    let opened = opened.map_err(unreadable)?;
    if !opened.metadata().map_err(unreadable)?.is_file() {
        return Err(not("not a regular file".into()));
    }
    let mut text = Vec::new();
    let limit = u64::try_from(LONGEST_FILE).unwrap_or(u64::MAX);
    opened
        .take(limit + 1)
        .read_to_end(&mut text)
        .map_err(unreadable)?;
    if text.len() > LONGEST_FILE {
        return Err(not(format!("longer than {} MiB", LONGEST_FILE / 1024 / 1024)));
    }
    Ok(text)
}

fn unreadable(file: &Path, error: &io::Error) -> CatalogueError {
    CatalogueError::Failed(format!(
        "{} cannot be read: {}",
        file.display(),
        cause::in_kernel_words(error)
    ))
}

fn unfit(file: &str, error: &dyn Error) -> CatalogueError {
    CatalogueError::Failed(format!("{file} cannot be used: {}", cause::in_full(error)))
}

fn verifier(tls: &Tls, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, CatalogueError> {
    if !tls.verify {
        return Ok(Arc::new(NoVerification(provider)));
    }
    let named = match authorities(tls)? {
        None => None,
        Some(texts) => {
            let found: Result<Vec<_>, _> = texts.iter().map(|text| certificates(text)).collect();
            Some(
                found
                    .map_err(|error| CatalogueError::Failed(error.to_string()))?
                    .concat(),
            )
        }
    };
    let mut roots = RootCertStore::empty();
    let trusted = named
        .clone()
        .unwrap_or_else(|| rustls_native_certs::load_native_certs().certs);
    let (_, unfit) = roots.add_parsable_certificates(trusted);
    if roots.is_empty() {
        let whose = if named.is_some() {
            "the named files"
        } else {
            "the system"
        };
        let sentence = format!("no certificate of an authority can be used: {whose} have {unfit} unfit ones");
        return Err(CatalogueError::Failed(sentence));
    }
    let ordinary = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let ordinary = ordinary.map_err(|error| CatalogueError::Failed(error.to_string()))?;
    Ok(Arc::new(PinningVerifier {
        ordinary,
        certificates: named.unwrap_or_default(),
    }))
}

/// Accepts certificates of trusted authorities, and certificates that are in the CA file themselves.
#[derive(Debug)]
struct PinningVerifier {
    ordinary: Arc<WebPkiServerVerifier>,
    certificates: Vec<CertificateDer<'static>>,
}

impl PinningVerifier {
    /// Whether the only fault of a certificate is that it is an authority's certificate. Its dates were
    /// checked before.
    fn is_accepted(&self, certificate: &CertificateDer<'_>, error: &rustls::Error) -> bool {
        let rustls::Error::InvalidCertificate(CertificateError::Other(inner)) = error else {
            return false;
        };
        self.certificates.contains(certificate) && format!("{inner:?}").contains("CaUsedAsEndEntity")
    }
}

impl ServerCertVerifier for PinningVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self
            .ordinary
            .verify_server_cert(certificate, others, name, ocsp, now)
        {
            Err(error) if self.is_accepted(certificate, &error) => {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.ordinary.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.ordinary.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.ordinary.supported_verify_schemes()
    }
}

/// Accepts any certificate, for `verify: false`. The handshake still checks that the server has the key of
/// its certificate.
#[derive(Debug)]
struct NoVerification(Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerification {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::time::Duration;

    /// The certificate of an authority for `consul.test` and 127.0.0.1, valid from 2026 to 2126.
    const SELF_SIGNED: &str = "-----BEGIN CERTIFICATE-----
MIIBoTCCAUegAwIBAgIUTrmDqBIpShwCcILDjeW3N6SEOqkwCgYIKoZIzj0EAwIw
FjEUMBIGA1UEAwwLY29uc3VsLnRlc3QwIBcNMjYxMTI1MjIwNTUyWhgPMjEyNjEx
MDEyMjA1NTJaMBYxFDASBgNVBAMMC2NvbnN1bC50ZXN0MFkwEwYHKoZIzj0CAQYI
KoZIzj0DAQcDQgAEgDEc+QVGc6JEftcEMcvo4/1W4+Rbu9BOiiTyev/BlqWE5bTL
e8W8kjkDRkM2QWB2PJ1l4UPu/fkD2BIT5cGeZKNxMG8wHQYDVR0OBBYEFCOajpZK
Yw+LAPhtnHwHa481BSFoMB8GA1UdIwQYMBaAFCOajpZKYw+LAPhtnHwHa481BSFo
MA8GA1UdEwEB/wQFMAMBAf8wHAYDVR0RBBUwE4ILY29uc3VsLnRlc3SHBH8AAAEw
CgYIKoZIzj0EAwIDSAAwRQIhANv6fJ25vI4KVrP0RHqNjSY1jMtylZZLsVyEaw3U
brf0AiBqQgBtkeeZdoZtm50AocQwAx3Z//mgG8IaR/pgES+gPg==
-----END CERTIFICATE-----
";

    /// Another certificate for `consul.test`.
    const ANOTHER: &str = "-----BEGIN CERTIFICATE-----
MIIBmTCCAT+gAwIBAgIUAQl0T/MVZ+cMOlebt5FGMiqVpyQwCgYIKoZIzj0EAwIw
FTETMBEGA1UEAwwKb3RoZXIudGVzdDAgFw0yNjExMjUyMjA1NTJaGA8yMTI2MTEw
MTIyMDU1MlowFTETMBEGA1UEAwwKb3RoZXIudGVzdDBZMBMGByqGSM49AgEGCCqG
SM49AwEHA0IABIAxHPkFRnOiRH7XBDHL6OP9VuPkW7vQTook8nr/wZalhOW0y3vF
vJI5A0ZDNkFgdjydZeFD7v35A9gSE+XBnmSjazBpMB0GA1UdDgQWBBQjmo6WSmMP
iwD4bZx8B2uPNQUhaDAfBgNVHSMEGDAWgBQjmo6WSmMPiwD4bZx8B2uPNQUhaDAP
BgNVHRMBAf8EBTADAQH/MBYGA1UdEQQPMA2CC2NvbnN1bC50ZXN0MAoGCCqGSM49
BAMCA0gAMEUCIQDngnxdqUP8gnez/xEnczwPu+AwoCk/CEQfu8Oy1W7FMQIgRMn2
9shefGTevo0aLEfaiwJ0XYZC7Gxn8jIcaxfIMJw=
-----END CERTIFICATE-----
";

    /// The result of verifying the certificate that a server presents; `named` is the content of the CA file.
    fn verified(named: &str, shown: &str, name: &str, year: u64) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        fs::write(&file, named).unwrap();
        let tls = Tls {
            ca_file: Some(file.display().to_string()),
            ..Tls::default()
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = verifier(&tls, provider).unwrap();
        let certificate = certificates(shown.as_bytes()).unwrap().remove(0);
        let name = ServerName::try_from(name).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs((year - 1970) * 31_557_600));
        let verified = verifier.verify_server_cert(&certificate, &[], &name, &[], now);
        verified.map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn a_self_signed_certificate_in_the_cafile_is_accepted_for_its_names_and_dates() {
        for name in ["consul.test", "127.0.0.1"] {
            assert_eq!(verified(SELF_SIGNED, SELF_SIGNED, name, 2050), Ok(()));
        }
        for (named, shown, name, year, expected) in [
            (SELF_SIGNED, SELF_SIGNED, "other.test", 2050, "not valid for name"),
            (SELF_SIGNED, SELF_SIGNED, "consul.test", 2020, "not valid yet"),
            (SELF_SIGNED, SELF_SIGNED, "consul.test", 2130, "expired"),
            (SELF_SIGNED, ANOTHER, "consul.test", 2050, "CaUsedAsEndEntity"),
        ] {
            let refusal = verified(named, shown, name, year).unwrap_err();
            assert!(refusal.contains(expected), "{expected}: {refusal}");
        }
    }

    fn refusal(tls: &Tls) -> String {
        config(tls).map(drop).unwrap_err().to_string()
    }

    #[test]
    fn files_that_are_missing_or_hold_no_certificate_are_named() {
        let missing = Tls {
            ca_file: Some("/no/ca.pem".into()),
            ..Tls::default()
        };
        assert_eq!(
            refusal(&missing),
            "/no/ca.pem cannot be read: no such file or directory"
        );
        let folder = Tls {
            ca_path: Some("/no/folder".into()),
            ..Tls::default()
        };
        assert_eq!(
            refusal(&folder),
            "/no/folder cannot be read: no such file or directory"
        );
        let none = Tls {
            ca_file: Some("/etc/hostname".into()),
            ..Tls::default()
        };
        assert_eq!(refusal(&none), "/etc/hostname has no certificate in it");
        let device = Tls {
            ca_file: Some("/dev/zero".into()),
            ..Tls::default()
        };
        assert_eq!(refusal(&device), "/dev/zero is not a regular file");
        let client = Tls {
            client: Some(("/etc/hostname".into(), "/etc/hostname".into())),
            ..Tls::default()
        };
        assert_eq!(refusal(&client), "/etc/hostname has no certificate in it");
    }

    #[test]
    fn a_file_that_is_too_long_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("long.pem");
        fs::write(&file, vec![b'\n'; LONGEST_FILE + 1]).unwrap();
        let refusal = read(&file).unwrap_err().to_string();
        assert!(refusal.ends_with("long.pem is longer than 4 MiB"), "{refusal}");
    }

    #[test]
    fn a_folder_with_too_many_files_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..=MOST_FILES {
            fs::write(folder.path().join(number.to_string()), "").unwrap();
        }
        let refusal = files_in(folder.path()).unwrap_err().to_string();
        assert!(refusal.ends_with("has more than 1024 files"), "{refusal}");
    }

    #[test]
    fn changed_contents_of_files_change_the_fingerprint() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).display().to_string();
        let tls = Tls {
            ca_file: Some(file("ca.pem")),
            client: Some((file("client.pem"), file("key.pem"))),
            ..Tls::default()
        };
        let mut seen = vec![contents(&Tls::default()), contents(&tls)];
        for (name, text) in [
            ("ca.pem", "1"),
            ("client.pem", "1"),
            ("key.pem", "1"),
            ("key.pem", "2"),
        ] {
            fs::write(file(name), text).unwrap();
            seen.push(contents(&tls));
            assert_eq!(
                seen.last(),
                Some(&contents(&tls)),
                "the same files are the same number"
            );
        }
        assert_eq!(seen[0], 0);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 6, "{seen:?}");
        let in_folder = Tls {
            ca_path: Some(folder.path().display().to_string()),
            ..Tls::default()
        };
        let before = contents(&in_folder);
        fs::write(file("another.pem"), "1").unwrap();
        assert_ne!(contents(&in_folder), before);
    }

    #[test]
    fn a_server_name_takes_the_place_of_the_host() {
        let tls = Tls {
            server_name: Some("server.dc1.consul".into()),
            ..Tls::default()
        };
        let name = server_name(&tls, "[::1]").unwrap();
        assert_eq!(name.to_str(), "server.dc1.consul");
        assert_eq!(server_name(&Tls::default(), "[::1]").unwrap().to_str(), "::1");
        assert!(server_name(&Tls::default(), "a b").is_err());
    }
}
