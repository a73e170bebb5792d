// Greets whoever is named in the JSON body, the query string, or nobody in particular.
module.exports = async (event, context) => {
  const name = event?.name ?? context.query?.name ?? 'world';
  return {
    statusCode: 200,
    headers: { 'Content-Type': 'application/json' },
    body: { message: `Hello, ${name}!`, runtime: `node ${process.version}` },
  };
};
