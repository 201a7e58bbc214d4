// For tests: reads the variable that its argument names.
console.log(Deno.env.get(Deno.args[0] ?? "") ?? "unset");
