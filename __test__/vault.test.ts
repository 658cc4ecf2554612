import { randomBytes } from 'crypto';
import { inspect } from 'util';
import { MemoryStore } from '..';
import type * as Native from '../binding';
import vectors from './fixtures/vectors/vault.json';
import * as model from './vault-model';

const { StoreSecret, Vault } = require('../binding.js') as typeof Native;
const hex = (text: string) => Buffer.from(text, 'hex');

describe('the vectors', () => {
  const { keyRecords, records } = vectors;
  const dataKey = hex(vectors.dataKey);
  const byKey = hex(keyRecords.key.record);
  const secret = StoreSecret.key(hex(keyRecords.key.secret));

  test('open with what was built', async () => {
    const vault = await Vault.unwrap(byKey, secret);
    expect(vault.revealDataKey()).toEqual(dataKey);
    for (const { name, version, plaintext, sealed } of records) {
      expect(vault.open(name, version, hex(sealed))).toEqual(hex(plaintext));
    }
    for (const { secret, record } of keyRecords.text) {
      const vault = await Vault.unwrap(hex(record), StoreSecret.text(secret));
      expect(vault.revealDataKey()).toEqual(dataKey);
    }
    const byKms = hex(keyRecords.kms.record);
    expect(Vault.kmsWrapped(byKms)).toEqual(hex(keyRecords.kms.wrapped));
    expect(Vault.fromKms(byKms, dataKey).revealDataKey()).toEqual(dataKey);
  });

  test('open with the model, which made them', () => {
    for (const { name, version, plaintext, sealed } of records) {
      expect(model.open(dataKey, name, version, hex(sealed))).toEqual(hex(plaintext));
    }
    expect(model.unwrap(byKey, hex(keyRecords.key.secret))).toEqual(dataKey);
  });
});

test('the model opens what the vault seals and wraps', async () => {
  const vault = Vault.generate();
  const dataKey = vault.revealDataKey();
  for (const [name, version] of [
    ['a', 1],
    ['räume/😀', 2 ** 53 - 1],
  ] as const) {
    const plaintext = randomBytes(500);
    expect(model.open(dataKey, name, version, vault.seal(name, version, plaintext))).toEqual(
      plaintext,
    );
  }
  const key = randomBytes(32);
  expect(model.unwrap(await vault.wrap(StoreSecret.key(key)), key)).toEqual(dataKey);
  expect(model.unwrap(await vault.wrap(StoreSecret.text('Schlüssel')), 'Schlüssel')).toEqual(
    dataKey,
  );
  const byKms = vault.recordKmsWrapped(Buffer.from('wrapped'));
  expect(model.unwrap(byKms, () => dataKey)).toEqual(dataKey);
});

test('a vault shows nothing', async () => {
  const { vault } = (await MemoryStore.open()) as unknown as { vault: object };
  expect(JSON.stringify(vault)).toBe('{}');
  expect(inspect(vault, { showHidden: true })).toMatch(/^_?Vault \{\}$/);
});
