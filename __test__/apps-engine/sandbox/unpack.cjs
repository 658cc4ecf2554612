// Prints an app's code as the server gives it to the runtime: node unpack.cjs <engine> <zip>

const { readFileSync } = require('fs');
const { join } = require('path');

const [engine = '', zip = ''] = process.argv.slice(2);
const { AppPackageParser } = require(join(engine, 'server/compiler'));
const { bundleLegacyApp } = require(join(engine, 'server/runtime/deno/bundler'));

(async () => {
  const app = await new AppPackageParser().unpackageApp(readFileSync(zip));
  if (Object.keys(app.files).length > 1) await bundleLegacyApp(app);
  console.log(JSON.stringify({ info: app.info, code: app.files[app.info.classFile] }));
})();
