#!/usr/bin/env node
import { vendor } from './vendor';

const USAGE = `Usage: rocketchat-e2ee vendor <folder>

  vendor <folder>  writes rocketchat-e2ee.ts into the folder of a Rocket.Chat app, for
                   compilers that bundle no dependencies (apps-cli 1.9.0)`;

function main([command, ...operands]: string[]): number {
  const [folder] = operands;
  if (command !== 'vendor' || operands.length !== 1 || folder === undefined) {
    console.error(USAGE);
    return 2;
  }
  try {
    console.log(`Wrote ${vendor(folder)}`);
    return 0;
  } catch (error) {
    console.error(`rocketchat-e2ee: ${(error as Error).message}`);
    return 1;
  }
}

process.exitCode = main(process.argv.slice(2));
