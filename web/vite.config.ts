import { defineConfig } from "vite";

// The pages are built into the package, which serves them as plain files.
export default defineConfig({
  root: "demo",
  base: "./", // the app may be mounted anywhere
  build: {
    outDir: "../../src/openline/demo/static",
    emptyOutDir: true,
    target: "es2022",
  },
});
