#![allow(
    clippy::all,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    missing_docs
)]
use aws_lc_rs::digest;
use aws_lc_rs::signature::*;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B;
use hopguard_client::*;
use hopguard_core::*;
use hopguard_verify::*;
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;

fn time(name: &str, n: usize, mut f: impl FnMut(usize)) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..25 {
        let t = Instant::now();
        for i in 0..n {
            f(i)
        }
        best = best.min(t.elapsed().as_secs_f64() / n as f64 * 1e6);
    }
    println!("{name:40} {best:8.3} us");
    best
}

fn main() {
    let now = SystemClock::shared().now().as_secs();
    let claims = |i: usize| json!({"iss":"https://sts.internal","sub":"6f1c2f1e-8a53-4c1b-9d4e-0f6b5d9a7c11","aud":"https://orders.internal","client_id":"web","jti":format!("0f6b5d9a-{i}"),"iat":now,"exp":now+300,"scope":"orders:read orders:write stock:read","act":{"sub":"gateway","act":{"sub":"edge"}},"auth_time":now,"acr":"urn:mace:incommon:iap:silver","email":"alice@example.com","roles":["a","b","c"],"sid":"8a53-4c1b-9d4e-0f6b5d9a7c11-6f1c2f1e"});
    let rng = aws_lc_rs::rand::SystemRandom::new();
    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let rsa = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let ed = Ed25519KeyPair::generate().unwrap();
    let p = ec.public_key().as_ref();
    let jec = json!({"kty":"EC","crv":"P-256","kid":"k1","alg":"ES256","x":B.encode(&p[1..33]),"y":B.encode(&p[33..])});
    let pk = rsa.public_key();
    let jrsa = json!({"kty":"RSA","kid":"k1","alg":"RS256","n":B.encode(pk.modulus().big_endian_without_leading_zero()),"e":"AQAB"});
    let jed =
        json!({"kty":"OKP","crv":"Ed25519","kid":"k1","alg":"EdDSA","x":B.encode(ed.public_key().as_ref())});
    let rsa_raw = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pk.as_ref()).unwrap();
    let ec_raw = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, p).unwrap();
    let ed_raw = ParsedPublicKey::new(&ED25519, ed.public_key().as_ref()).unwrap();
    let ledger = Ledger::bounded();
    let transport = Arc::new(HttpTransport::builder().build().unwrap());
    for (alg, jwk, raw) in [("ES256", jec, ec_raw), ("RS256", jrsa, rsa_raw), ("EdDSA", jed, ed_raw)] {
        let header = json!({"alg":alg,"typ":"at+jwt","kid":"k1"}).to_string();
        let tokens: Vec<_> = (0..1000)
            .map(|i| {
                let input = format!("{}.{}", B.encode(&header), B.encode(claims(i).to_string()));
                let sig = match alg {
                    "ES256" => ec.sign(&rng, input.as_bytes()).unwrap().as_ref().to_vec(),
                    "EdDSA" => ed.sign(input.as_bytes()).as_ref().to_vec(),
                    _ => {
                        let mut s = vec![0; 256];
                        rsa.sign(&RSA_PKCS1_SHA256, &rng, input.as_bytes(), &mut s).unwrap();
                        s
                    }
                };
                (input.clone(), sig.clone(), RawToken::new(&format!("{input}.{}", B.encode(sig))))
            })
            .collect();
        println!("{alg} token {} bytes", tokens[0].2.len());
        let build = |n| {
            Verifier::builder(transport.clone(), SystemClock::shared(), Spawn::current())
                .issuer(Issuer::at("https://sts.internal").keys_fixed(&json!({"keys":[jwk]}).to_string()))
                .remember_at_most(n)
                .build()
                .unwrap()
        };
        let v = build(0);
        let n = 200;
        // interleaved
        let (mut best_r, mut best_v) = (f64::MAX, f64::MAX);
        for _ in 0..40 {
            let t = Instant::now();
            for i in 0..n {
                raw.verify_sig(tokens[i].0.as_bytes(), &tokens[i].1).unwrap();
            }
            best_r = best_r.min(t.elapsed().as_secs_f64() / n as f64 * 1e6);
            let w = build(10_000);
            let t = Instant::now();
            for i in 0..n {
                let Check::Done(Ok(_)) = w.check(&tokens[i].2, ledger.withdrawals()) else { panic!() };
            }
            best_v = best_v.min(t.elapsed().as_secs_f64() / n as f64 * 1e6);
        }
        println!("raw {best_r:.3} first-with-memory {best_v:.3} ratio {:.3}", best_v / best_r);
        time("raw verify_sig", n, |i| raw.verify_sig(tokens[i].0.as_bytes(), &tokens[i].1).unwrap());
        if alg != "EdDSA" {
            time("raw verify_digest_sig", n, |i| {
                let d = digest::digest(&digest::SHA256, tokens[i].0.as_bytes());
                raw.verify_digest_sig(&d, &tokens[i].1).unwrap()
            });
        }
        time("first (memory off)", n, |i| {
            let Check::Done(Ok(_)) = v.check(&tokens[i].2, ledger.withdrawals()) else { panic!() };
        });
        let w = build(10_000);
        for t in &tokens {
            let _ = w.check(&t.2, ledger.withdrawals());
        }
        time("remembered", n, |i| {
            let Check::Done(Ok(_)) = w.check(&tokens[i].2, ledger.withdrawals()) else { panic!() };
        });
        let forged0: Vec<_> = tokens
            .iter()
            .map(|t| {
                let h = B.encode(json!({"alg":alg,"typ":"at+jwt","kid":"k2"}).to_string());
                let (_, rest) = t.2.dangerous_expose().split_once('.').unwrap();
                RawToken::new(&format!("{h}.{rest}"))
            })
            .collect();
        time("unknown kid refused", n, |i| {
            let Check::Done(Err(_)) = w.check(&forged0[i], ledger.withdrawals()) else { panic!() };
        });
        let forged: Vec<_> = tokens
            .iter()
            .map(|t| {
                let h = B.encode(json!({"alg":"none","typ":"at+jwt","kid":"k2"}).to_string());
                let (_, rest) = t.2.dangerous_expose().split_once('.').unwrap();
                RawToken::new(&format!("{h}.{rest}"))
            })
            .collect();
        if std::env::var_os("LOOP").is_some() {
            time("loop", 400_000, |i| {
                let Check::Done(Err(_)) = w.check(&forged0[i % 1000], ledger.withdrawals()) else { panic!() };
            });
            return;
        }
        time("alg none refused", n, |i| {
            let Check::Done(Err(_)) = w.check(&forged[i], ledger.withdrawals()) else { panic!() };
        });
        time("sha256 of token", n, |i| {
            std::hint::black_box(digest::digest(&digest::SHA256, tokens[i].2.dangerous_expose().as_bytes()));
        });
        let k = aws_lc_rs::aead::LessSafeKey::new(
            aws_lc_rs::aead::UnboundKey::new(&aws_lc_rs::aead::AES_128_GCM, &[7; 16]).unwrap(),
        );
        time("gmac of token", n, |i| {
            std::hint::black_box(
                k.seal_in_place_separate_tag(
                    aws_lc_rs::aead::Nonce::assume_unique_for_key([0; 12]),
                    aws_lc_rs::aead::Aad::from(tokens[i].2.dangerous_expose().as_bytes()),
                    &mut [],
                )
                .unwrap(),
            );
        });
        let s = [std::hash::RandomState::new(), std::hash::RandomState::new()];
        time("2x siphash of token", n, |i| {
            use std::hash::BuildHasher;
            std::hint::black_box((
                s[0].hash_one(tokens[i].2.dangerous_expose()),
                s[1].hash_one(tokens[i].2.dangerous_expose()),
            ));
        });
        time("payload base64", n, |i| {
            std::hint::black_box(B.decode(tokens[i].0.split('.').nth(1).unwrap()).unwrap());
        });
        let clock = SystemClock::shared();
        time("clock.now", n, |_| {
            std::hint::black_box(clock.now());
        });
    }
}
