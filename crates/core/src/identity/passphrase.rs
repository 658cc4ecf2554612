//! Passphrases for the private-key envelope.

use bip39::Language;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

const WORDS: usize = 12;

/// Makes a passphrase as Rocket.Chat's clients do: 12 words, joined by spaces, each drawn from
/// the 2,048 English words of BIP-39; 132 bits of randomness. (Not a BIP-39 mnemonic, whose
/// last word holds a checksum.)
pub fn generate_passphrase<R: CryptoRng + ?Sized>(rng: &mut R) -> Zeroizing<String> {
    let list = Language::English.word_list();
    let mut draws = Zeroizing::new([0u8; WORDS * 2]);
    rng.fill_bytes(draws.as_mut());
    // Words have at most eight letters: no reallocation leaves a copy behind.
    let mut passphrase = Zeroizing::new(String::with_capacity(WORDS * 9));
    for draw in draws.as_chunks::<2>().0 {
        // 2,048 divides 65,536, so each word is as likely as any other.
        let index = usize::from(u16::from_le_bytes(*draw)) % list.len();
        if !passphrase.is_empty() {
            passphrase.push(' ');
        }
        passphrase.push_str(list.get(index).copied().unwrap_or_default());
    }
    passphrase
}
