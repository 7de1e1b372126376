// Fetches the OpenAPI document, with a key where the service asks for one, and hands it to Swagger UI.
"use strict";

const form = document.getElementById("ask");
const why = document.getElementById("why");
const field = document.getElementById("key");

async function load(key) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const answer = await fetch("openapi.json", { headers });
  if (answer.ok) {
    show(await answer.json(), key);
    return;
  }
  form.hidden = false;
  if (key || answer.status !== 401) {
    const problem = await answer.json().catch(() => null);
    why.textContent = problem?.detail ?? `The service answered ${answer.status}.`;
  }
}

function show(spec, key) {
  form.hidden = true;
  const shown = SwaggerUIBundle({
    spec,
    dom_id: "#reference",
    deepLinking: true,
    validatorUrl: null,
    onComplete: () => {
      if (key) {
        shown.preauthorizeApiKey("key", key);
      }
    },
  });
}

function failed() {
  form.hidden = false;
  why.textContent = "The service did not answer.";
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  load(field.value.trim()).catch(failed);
});
load("").catch(failed);
