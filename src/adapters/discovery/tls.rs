//! TLS for catalogues: whom to trust, and how to prove who we are.
//!
//! Files are read once, when the catalogue is opened, so that a missing one is told at the start. Nothing is
//! trusted that was not asked for: with a file or folder of authorities, the system's do not count.

use crate::cause;
use crate::ports::CatalogueError;
use domain::plan::Tls;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Certificate, ClientBuilder, Identity, Url};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Sets up the client for TLS. With a server name of its own, `base` is changed to that name, and the name is
/// resolved to the host that stood there.
pub fn secure(client: ClientBuilder, tls: &Tls, base: &mut Url) -> Result<ClientBuilder, CatalogueError> {
    let mut client = client.tls_danger_accept_invalid_certs(!tls.verify);
    if let Some(texts) = authorities(tls)? {
        let bundles = texts.iter().map(|text| Certificate::from_pem_bundle(text));
        let bundles: Result<Vec<_>, _> = bundles.collect();
        let bundles = bundles.map_err(|error| CatalogueError::Failed(cause::in_full(&error)))?;
        client = client.tls_certs_only(bundles.into_iter().flatten());
    } else if !tls.verify {
        client = client.tls_certs_only([]);
    }
    if let Some(Proof { identity, .. }) = proof(tls)? {
        client = client.identity(identity);
    }
    match &tls.server_name {
        Some(name) => rename(client, name, base),
        None => Ok(client),
    }
}

/// The texts of the file and of every file in the folder, each with a certificate; none if neither is named.
pub fn authorities(tls: &Tls) -> Result<Option<Vec<Vec<u8>>>, CatalogueError> {
    if tls.ca_file.is_none() && tls.ca_path.is_none() {
        return Ok(None);
    }
    let mut files: Vec<PathBuf> = tls.ca_file.iter().map(PathBuf::from).collect();
    if let Some(folder) = &tls.ca_path {
        let entries = fs::read_dir(folder).map_err(|error| unreadable(Path::new(folder), &error))?;
        files.extend(
            entries
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| path.is_file()),
        );
    }
    files
        .iter()
        .map(|file| authority(file))
        .collect::<Result<_, _>>()
        .map(Some)
}

fn authority(file: &Path) -> Result<Vec<u8>, CatalogueError> {
    let text = read(file)?;
    let bundle = Certificate::from_pem_bundle(&text);
    let bundle = bundle.map_err(|error| unfit(&file.display().to_string(), &error))?;
    if bundle.is_empty() {
        return Err(CatalogueError::Failed(format!(
            "{} has no certificate in it",
            file.display()
        )));
    }
    Ok(text)
}

/// Our own certificate and its key, which fit.
pub struct Proof {
    /// The text of the certificate's file.
    pub certificate: Vec<u8>,
    /// The text of the key's file.
    pub key: Vec<u8>,
    /// Both, as our HTTP client wants them.
    identity: Identity,
}

/// Reads our own certificate and its key, if they are named.
pub fn proof(tls: &Tls) -> Result<Option<Proof>, CatalogueError> {
    let Some((file, key)) = &tls.client else {
        return Ok(None);
    };
    let (certificate, key) = (read(Path::new(file))?, read(Path::new(key))?);
    let both = [&certificate[..], b"\n", &key].concat();
    let identity = Identity::from_pem(&both).map_err(|error| unfit(file, &error))?;
    Ok(Some(Proof {
        certificate,
        key,
        identity,
    }))
}

fn read(file: &Path) -> Result<Vec<u8>, CatalogueError> {
    fs::read(file).map_err(|error| unreadable(file, &error))
}

fn unreadable(file: &Path, error: &std::io::Error) -> CatalogueError {
    CatalogueError::Failed(format!(
        "{} cannot be read: {}",
        file.display(),
        cause::in_kernel_words(error)
    ))
}

fn unfit(file: &str, error: &reqwest::Error) -> CatalogueError {
    CatalogueError::Failed(format!("{file} cannot be used: {}", cause::in_full(error)))
}

fn rename(client: ClientBuilder, name: &str, base: &mut Url) -> Result<ClientBuilder, CatalogueError> {
    let host = base
        .host_str()
        .unwrap_or_default()
        .trim_matches(['[', ']'])
        .to_owned();
    let changed = base.set_host(Some(name));
    changed.map_err(|error| CatalogueError::Failed(format!("'{name}' is not a server name: {error}")))?;
    Ok(client.dns_resolver(Arc::new(Host(host))))
}

/// Resolves every name to one host.
struct Host(String);

impl Resolve for Host {
    fn resolve(&self, _: Name) -> Resolving {
        let host = self.0.clone();
        Box::pin(async move {
            let addresses = tokio::net::lookup_host((host, 0)).await?;
            Ok(Box::new(addresses.collect::<Vec<_>>().into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::Client;

    fn refusal(tls: &Tls) -> String {
        let mut base = Url::parse("https://127.0.0.1:8501").unwrap();
        secure(Client::builder(), tls, &mut base)
            .map(drop)
            .unwrap_err()
            .to_string()
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
            ca_file: Some("/dev/null".into()),
            ..Tls::default()
        };
        assert!(
            refusal(&none).starts_with("/dev/null has no certificate"),
            "{}",
            refusal(&none)
        );
        let client = Tls {
            client: Some(("/dev/null".into(), "/dev/null".into())),
            ..Tls::default()
        };
        assert!(
            refusal(&client).starts_with("/dev/null cannot be used: "),
            "{}",
            refusal(&client)
        );
    }

    #[test]
    fn a_server_name_takes_the_place_of_the_host() {
        let mut base = Url::parse("https://[::1]:8501").unwrap();
        let tls = Tls {
            server_name: Some("server.dc1.consul".into()),
            ..Tls::default()
        };
        drop(secure(Client::builder(), &tls, &mut base).unwrap());
        assert_eq!(base.as_str(), "https://server.dc1.consul:8501/");
    }
}
