// Matches request paths against patterns such as /users/:id and calls a handler.

const METHODS = ["GET", "POST", "PUT", "DELETE"];

function splitPath(path) {
  return path.split("/").filter((part) => part.length > 0);
}

function compile(pattern) {
  return splitPath(pattern).map((part) => {
    if (part.startsWith(":")) {
      return { name: part.slice(1), value: null };
    }
    return { name: null, value: part };
  });
}

function match(segments, parts) {
  if (segments.length !== parts.length) {
    return null;
  }
  const params = {};
  for (let i = 0; i < segments.length; i++) {
    const segment = segments[i];
    if (segment.name !== null) {
      params[segment.name] = decodeURIComponent(parts[i]);
    } else if (segment.value !== parts[i]) {
      return null;
    }
  }
  return params;
}

class Router {
  constructor() {
    this.routes = [];
    this.middleware = [];
  }

  use(handler) {
    this.middleware.push(handler);
    return this;
  }

  on(method, pattern, handler) {
    if (!METHODS.includes(method)) {
      throw new Error(`unknown method ${method}`);
    }
    this.routes.push({ method, segments: compile(pattern), handler });
    return this;
  }

  get(pattern, handler) {
    return this.on("GET", pattern, handler);
  }

  post(pattern, handler) {
    return this.on("POST", pattern, handler);
  }

  put(pattern, handler) {
    return this.on("PUT", pattern, handler);
  }

  delete(pattern, handler) {
    return this.on("DELETE", pattern, handler);
  }

  find(method, path) {
    const parts = splitPath(path);
    for (const route of this.routes) {
      if (route.method !== method) {
        continue;
      }
      const params = match(route.segments, parts);
      if (params !== null) {
        return { handler: route.handler, params };
      }
    }
    return null;
  }

  async handle(request) {
    for (const handler of this.middleware) {
      await handler(request);
    }
    const found = this.find(request.method, request.path);
    if (found === null) {
      return { status: 404, body: "not found" };
    }
    try {
      const body = await found.handler({ ...request, params: found.params });
      return { status: 200, body };
    } catch (error) {
      return { status: 500, body: error.message };
    }
  }
}

module.exports = { Router, match, compile };
