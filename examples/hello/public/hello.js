const form = document.getElementById("form");
const answer = document.getElementById("answer");

async function greet() {
  const name = document.getElementById("name").value || "stranger";
  const began = performance.now();
  const response = await fetch("/api/hello?name=" + encodeURIComponent(name));
  const { greeting, by } = await response.json();
  answer.textContent = `${greeting} (${by}, ${Math.round(performance.now() - began)} ms)`;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  greet();
});
greet();
