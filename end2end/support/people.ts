// Who the tests are.
export const organization = "Acme";
export const password = "a small green lighthouse 41";
export const owner = { name: "Ada Lovelace", email: "ada@acme.example", password };
