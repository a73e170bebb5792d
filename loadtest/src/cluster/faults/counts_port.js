// Reports five requests that wait for a function to the counts port, in every way that a pod can try: in plain text,
// over TLS without a certificate, and, when one is given, with it. Prints what came of each as JSON.
const http2 = require('node:http2');
const { ADAPTER, SERVER_NAME, NAMESPACE, FUNCTION, CERTIFICATE, KEY, CA } = process.env;

const text = (field, value) => Buffer.concat([Buffer.from([field << 3 | 2, value.length]), Buffer.from(value)]);
const number = (field, value) => Buffer.from([field << 3, value]);
const counts = Buffer.concat([text(1, NAMESPACE), text(2, FUNCTION), number(3, 5), number(5, 5), number(6, 5)]);
const report = Buffer.concat([
  text(1, 'an-intruder'), Buffer.from([2 << 3 | 1, 1, 2, 3, 4, 5, 6, 7, 8]), number(3, 1),
  Buffer.from([4 << 3 | 2, counts.length]), counts,
]);
const head = Buffer.alloc(5);
head.writeUInt32BE(report.length, 1);
const message = Buffer.concat([head, report]);

// What the adapter answered first: its Welcome says that the report was taken.
const attempt = (url, options) => new Promise((done) => {
  const session = http2.connect(url, { ...options, rejectUnauthorized: false, servername: SERVER_NAME });
  const end = (how) => { session.destroy(); done(how); };
  session.on('error', (error) => end(`refused: ${error.code ?? error.message}`));
  session.on('close', () => end('refused: closed'));
  session.setTimeout(10_000, () => end('refused: silent'));
  const stream = session.request({
    ':method': 'POST', ':path': '/kipper.counts.v1.Counts/Report', 'content-type': 'application/grpc', te: 'trailers',
  });
  stream.on('error', (error) => end(`refused: ${error.code ?? error.message}`));
  stream.on('data', () => end('accepted'));
  stream.write(message);
});

(async () => {
  const plain = await attempt(`http://${ADAPTER}`, {});
  const anonymous = await attempt(`https://${ADAPTER}`, {});
  const certified = CERTIFICATE ? await attempt(`https://${ADAPTER}`, { cert: CERTIFICATE, key: KEY, ca: CA }) : null;
  console.log(JSON.stringify({ plain, anonymous, certified }));
})();
