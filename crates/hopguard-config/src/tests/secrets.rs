//! Secrets: from files of their own and from variables, never from the file.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::*;

#[test]
fn secrets_come_from_files_and_variables_only() {
    let folder = Folder::fresh();
    let toml = format!("{SMALL}{EGRESS}");
    let with = |pairs: &[(&str, &str)]| {
        let pairs =
            pairs.iter().map(|(name, value)| (format!("HOPGUARD_EGRESS__STS__{name}"), value.to_string()));
        Config::read(&toml, pairs)
    };
    let file = folder.secret("secret", b"hunter2\r\n\n");
    assert!(with(&[("CLIENT_SECRET_FILE", &file)]).unwrap().warnings().is_empty());
    assert!(with(&[("CLIENT_SECRET", "hunter2")]).is_ok());
    let readable = folder.file("readable", b"hunter2", 0o644);
    let warned = with(&[("CLIENT_SECRET_FILE", &readable)]).unwrap();
    assert_eq!(warned.warnings().len(), 1);
    assert!(warned.warnings()[0].starts_with("egress.sts.client_secret_file"), "{:?}", warned.warnings());
    assert!(!format!("{warned:?}").contains("hunter2"));

    let file_setting = "egress.sts.client_secret_file";
    let big = folder.secret("big", &[b'x'; 64 * 1024 + 1]);
    for (pairs, setting, part) in [
        (
            vec![("CLIENT_SECRET", ""), ("CLIENT_SECRET_FILE", &*file)],
            "egress.sts.client_secret",
            "given twice",
        ),
        (vec![("CLIENT_SECRET", "")], "egress.sts.client_secret", "is empty"),
        (vec![("CLIENT_SECRET_FILE", &*folder.secret("empty", b"\n"))], file_setting, "is empty"),
        (
            vec![("CLIENT_SECRET_FILE", &*folder.file("open", b"hunter2", 0o602))],
            file_setting,
            "everybody can write",
        ),
        (vec![("CLIENT_SECRET_FILE", &*folder.at("nowhere"))], file_setting, "cannot be read"),
        (vec![("CLIENT_SECRET_FILE", folder.0.to_str().unwrap())], file_setting, "is no file"),
        (vec![("CLIENT_SECRET_FILE", "")], file_setting, "is empty"),
        (vec![("CLIENT_SECRET_FILE", &*big)], file_setting, "is longer than"),
        (
            vec![("CLIENT_SECRET_FILE", &*folder.secret("latin", b"\xfc"))],
            "egress.sts.client_secret",
            "UTF-8",
        ),
    ] {
        let errors = with(&pairs).expect_err(part);
        told(&errors, &[(setting, part)]);
        assert!(!errors.to_string().contains("hunter2"));
    }
    // What belongs to another way of authentication is no setting of this one.
    let errors = with(&[("CLIENT_SECRET", "a"), ("PRIVATE_KEY_FILE", &file)]).unwrap_err();
    told(&errors, &[("egress.sts.private_key_file", "is no setting here")]);
}

#[test]
fn keys_are_read_from_der_and_pem() {
    let folder = Folder::fresh();
    let toml = format!("{SMALL}{}", EGRESS.replace("client_secret_basic", "private_key_jwt"));
    let encoded = BASE64_STANDARD.encode(KEY);
    let pem = |label: &str| format!("-----BEGIN {label}-----\n{encoded}\n-----END {label}-----\n");
    let with = |content: &[u8], algorithm: &str| {
        let file = folder.secret("key", content);
        let pairs = [("PRIVATE_KEY_FILE", file.as_str()), ("ALGORITHM", algorithm)];
        Config::read(&toml, pairs.map(|(name, value)| (format!("HOPGUARD_EGRESS__STS__{name}"), value)))
    };
    assert!(with(KEY, "ES256").is_ok());
    assert!(with(pem("PRIVATE KEY").as_bytes(), "ES256").is_ok());
    let setting = "egress.sts.private_key_file";
    told(&with(pem("EC PRIVATE KEY").as_bytes(), "ES256").unwrap_err(), &[(setting, "openssl pkcs8")]);
    told(&with(b"rubbish", "ES256").unwrap_err(), &[(setting, "is not a P-256 key")]);
    told(&with(KEY, "RS256").unwrap_err(), &[(setting, "is not an RSA key")]);
    told(&with(KEY, "none").unwrap_err(), &[("egress.sts.algorithm", "must be one of")]);
}
