import { readFileSync } from 'fs';
import { CliError, Exit, usage } from './failure';
import { ask, canAsk } from './prompt';

/** The prefix of every environment variable that is read. */
export const PREFIX = 'RC_E2EE_';

/** What is secret, and what a person is asked for. */
export const SECRETS = {
  TOKEN: "the account's personal access token",
  PASSPHRASE: "the account's E2EE password",
  STORE_SECRET: "the store's secret",
  NEW_STORE_SECRET: "the store's new secret",
  KEYS_PASSPHRASE: 'the passphrase of the exported keys',
} as const;

export type SecretName = keyof typeof SECRETS;

/** Option names that people would try. */
const TEMPTING: readonly [RegExp, SecretName][] = [
  [/^--?new-?(store-?)?secret$/, 'NEW_STORE_SECRET'],
  [/^--?(store-?)?secret$/, 'STORE_SECRET'],
  [/^--?(auth-?|access-?|personal-?)*token$/, 'TOKEN'],
  [/^--?keys-?pass(phrase|word)$/, 'KEYS_PASSPHRASE'],
  [/^--?((e2ee?-?)?pass(phrase|word|wd)?|pwd|pw)$/, 'PASSPHRASE'],
];
const TOKEN = /^[A-Za-z0-9_-]{43}$/;
const PASSPHRASE = /^[a-z]+( [a-z]+){11}$/;
const PRIVATE_JWK = /"(d|k)"\s*:\s*"/;

/**
 * Refuses secrets among the arguments, which every user of the machine can see and shells write
 * down. The message does not repeat them.
 */
export function refuseSecrets(args: readonly string[], env: NodeJS.ProcessEnv): void {
  const known = new Set<string>();
  for (const name of Object.keys(SECRETS)) {
    const value = env[PREFIX + name];
    if (value && value.length >= 8) known.add(value);
  }
  for (const arg of args) {
    const [option = ''] = arg.split('=', 1);
    const tempting = TEMPTING.find(([pattern]) => pattern.test(option));
    if (tempting) throw refused(option, tempting[1]);
    const value = arg.startsWith('--') && arg.includes('=') ? arg.slice(option.length + 1) : arg;
    if (known.has(value)) throw refused('a secret of the environment', undefined);
    if (TOKEN.test(value)) throw refused('what looks like a token', 'TOKEN');
    if (PASSPHRASE.test(value)) {
      throw refused('what looks like a passphrase', 'PASSPHRASE', ' (a message can be piped in)');
    }
    if (PRIVATE_JWK.test(value)) throw refused('what looks like a private key', undefined);
  }
}

function refused(what: string, name: SecretName | undefined, more = ''): CliError {
  const instead = name
    ? `put it into ${PREFIX}${name}, or into a file that ${PREFIX}${name}_FILE names, or wait to be asked`
    : 'it is read from the environment, from a file, or from standard input';
  return new CliError(
    'ERR_CLI_SECRET_IN_ARGUMENTS',
    `${what} among the arguments: other users of this machine can see those; ${instead}${more}`,
    Exit.usage,
  );
}

/** A secret that is there without asking. */
export function knownSecret(name: SecretName, env: NodeJS.ProcessEnv): string | undefined {
  const variable = PREFIX + name;
  const value = env[variable];
  const file = env[`${variable}_FILE`];
  if (value && file) throw usage(`set either ${variable} or ${variable}_FILE, not both`);
  if (!file) return value || undefined;
  // One line break at the end is the editor's.
  const read = readFileSync(file, 'utf8').replace(/\r?\n$/, '');
  if (read === '') throw usage(`the file that ${variable}_FILE names is empty`);
  return read;
}

/** A secret from the environment, a file, or whoever sits at the terminal. */
export async function secret(
  name: SecretName,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
  { twice = false } = {},
): Promise<string> {
  const known = knownSecret(name, env);
  if (known !== undefined) return known;
  if (!canAsk()) {
    throw usage(
      `${SECRETS[name]} is missing: set ${PREFIX}${name} or ${PREFIX}${name}_FILE, or run this at a terminal to be asked`,
    );
  }
  const given = await ask(`${sentence(SECRETS[name])}: `, { signal, hidden: true });
  if (given === '') throw usage(`${SECRETS[name]} must not be empty`);
  if (twice && (await ask('Once more: ', { signal, hidden: true })) !== given) {
    throw usage('the two are not the same');
  }
  return given;
}

function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
