//! What is measured, for times (`core.rs`) and for instruction counts (`instructions.rs`).

use chacha20::ChaCha20Rng;
use rand_core::SeedableRng;
use rocketchat_e2ee::{
    EncryptedContent, FileEncryptor, Identity, MessageContent, PublicKey, RoomKey,
};

const PASSPHRASE: &str = "correct horse battery staple";
const USER: &str = "u1";

pub(crate) struct Jobs {
    rng: ChaCha20Rng,
    key: RoomKey,
    identity: Identity,
}

impl Jobs {
    pub(crate) fn new() -> Self {
        let mut rng = ChaCha20Rng::from_seed([7; 32]);
        let key = RoomKey::generate(&mut rng).unwrap();
        let identity = Identity::generate(&mut rng).unwrap();
        Self { rng, key, identity }
    }

    pub(crate) fn content(size: usize) -> MessageContent {
        let line = "please look at build 4711: it failed on arm64, \"ld: not found\"\n";
        MessageContent::text(line.chars().cycle().take(size).collect::<String>())
    }

    /// Base64 of iv and of ciphertext.
    pub(crate) fn envelope(&self, size: usize) -> (String, String) {
        let mut rng = ChaCha20Rng::from_seed([8; 32]);
        match self.key.encrypt(&mut rng, &Self::content(size)).unwrap() {
            EncryptedContent::V2 { iv, ciphertext, .. } => {
                (iv.into_owned(), ciphertext.into_owned())
            }
            _ => unreachable!("the key is for AES-GCM"),
        }
    }

    pub(crate) fn batch(&self, size: usize, count: usize) -> (String, Vec<u32>) {
        let (iv, ciphertext) = self.envelope(size);
        let lengths = [iv.len() as u32, ciphertext.len() as u32].repeat(count);
        ((iv + &ciphertext).repeat(count), lengths)
    }

    pub(crate) fn decrypt(&self, (iv, ciphertext): &(String, String)) -> MessageContent {
        self.key.decrypt(&EncryptedContent::v2(iv, ciphertext)).unwrap()
    }

    pub(crate) fn decrypt_many(&self, parts: &str, lengths: &[u32]) -> String {
        self.key.decrypt_many(parts, lengths)
    }

    pub(crate) fn encrypt(&mut self, content: &MessageContent) -> String {
        self.key.encrypt(&mut self.rng, content).unwrap().to_compact_text()
    }

    pub(crate) fn member(&self) -> String {
        self.identity.public_key().to_jwk()
    }

    pub(crate) fn public_key(jwk: &str) -> PublicKey {
        PublicKey::from_jwk(jwk).unwrap()
    }

    pub(crate) fn wrap(&mut self, member: &str) -> String {
        self.key.wrap_for(&mut self.rng, &Self::public_key(member)).unwrap()
    }

    pub(crate) fn wrapped(&mut self) -> String {
        self.key.wrap_for(&mut self.rng, self.identity.public_key()).unwrap()
    }

    pub(crate) fn unwrap(&mut self, wrapped: &str) -> RoomKey {
        self.identity.unwrap_room_key(&mut self.rng, wrapped).unwrap()
    }

    pub(crate) fn locked(&mut self) -> String {
        self.identity.lock(&mut self.rng, PASSPHRASE, USER).unwrap()
    }

    pub(crate) fn unlock(stored: &str) -> Identity {
        Identity::unlock(stored, PASSPHRASE, USER).unwrap()
    }

    pub(crate) fn file(&mut self, data: &mut [u8]) -> String {
        let mut file = FileEncryptor::new(&mut self.rng);
        file.update(data);
        file.finish()
    }
}
