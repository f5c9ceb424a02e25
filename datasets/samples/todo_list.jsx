// A list of things to do, with a filter and a counter.

import { useEffect, useState } from "react";

const FILTERS = ["all", "open", "done"];

function visible(todos, filter) {
  switch (filter) {
    case "open":
      return todos.filter((todo) => !todo.done);
    case "done":
      return todos.filter((todo) => todo.done);
    default:
      return todos;
  }
}

export function TodoItem({ todo, onToggle, onRemove }) {
  return (
    <li className={todo.done ? "done" : "open"}>
      <label>
        <input type="checkbox" checked={todo.done} onChange={() => onToggle(todo.id)} />
        {todo.title}
      </label>
      <button onClick={() => onRemove(todo.id)}>remove</button>
    </li>
  );
}

export function TodoList({ storageKey = "todos" }) {
  const [todos, setTodos] = useState([]);
  const [title, setTitle] = useState("");
  const [filter, setFilter] = useState("all");

  useEffect(() => {
    const saved = localStorage.getItem(storageKey);
    if (saved) {
      setTodos(JSON.parse(saved));
    }
  }, [storageKey]);

  useEffect(() => {
    localStorage.setItem(storageKey, JSON.stringify(todos));
  }, [storageKey, todos]);

  function add(event) {
    event.preventDefault();
    if (title.trim() === "") {
      return;
    }
    setTodos([...todos, { id: Date.now(), title: title.trim(), done: false }]);
    setTitle("");
  }

  function toggle(id) {
    setTodos(todos.map((todo) => (todo.id === id ? { ...todo, done: !todo.done } : todo)));
  }

  function remove(id) {
    setTodos(todos.filter((todo) => todo.id !== id));
  }

  const open = todos.filter((todo) => !todo.done).length;

  return (
    <section>
      <form onSubmit={add}>
        <input value={title} onChange={(event) => setTitle(event.target.value)} />
        <button type="submit">add</button>
      </form>
      <nav>
        {FILTERS.map((name) => (
          <button key={name} disabled={name === filter} onClick={() => setFilter(name)}>
            {name}
          </button>
        ))}
      </nav>
      <ul>
        {visible(todos, filter).map((todo) => (
          <TodoItem key={todo.id} todo={todo} onToggle={toggle} onRemove={remove} />
        ))}
      </ul>
      <p>{open} left</p>
    </section>
  );
}
