" A fill-in-the-middle request as llama.vim makes it, from the text of a real buffer, by curl; the answer goes in at the cursor.
"
" $ENDPOINT: the URL of /infill. $LINE, $COLUMN: 1-based; the cursor stands behind that many characters. Prints the reply as JSON.

function! s:Ask(request) abort
  let l:reply = system(['curl', '--silent', '--no-buffer', '--request', 'POST', '--url', $ENDPOINT,
        \ '--header', 'Content-Type: application/json', '--data', '@-']->map({_, word -> shellescape(word)})->join(' '), json_encode(a:request))
  if v:shell_error
    throw 'curl ended with ' .. v:shell_error .. ': ' .. l:reply
  endif
  " llama.vim looks at the first character before it decodes.
  if l:reply[0] !=# '{'
    throw 'not an object: ' .. l:reply
  endif
  return json_decode(l:reply)
endfunction

function! s:Common(extra) abort
  return {'id_slot': 0, 'input_extra': a:extra, 'stop': [], 'top_k': 40, 'top_p': 0.9, 'stream': v:false, 'cache_prompt': v:true}
endfunction

function! s:Fill() abort
  let [l:row, l:column] = [str2nr($LINE), str2nr($COLUMN)]
  let l:lines = getline(1, '$')
  let l:left = strcharpart(l:lines[l:row - 1], 0, l:column)
  let l:right = strcharpart(l:lines[l:row - 1], l:column)
  let l:extra = [{'text': "class Balance:\n    def negative(self):\n        return self.amount < 0\n", 'time': reltime(), 'filename': 'balance.py'}]

  " The chunks are evaluated while nobody waits.
  call s:Ask(extend(s:Common(l:extra), {'input_prefix': '', 'input_suffix': '', 'prompt': '', 'n_predict': 0, 'temperature': 0.0,
        \ 'samplers': [], 't_max_prompt_ms': 1, 't_max_predict_ms': 1, 'response_fields': ['']}))

  let l:above = l:row > 1 ? join(l:lines[: l:row - 2], "\n") .. "\n" : ''
  let l:reply = s:Ask(extend(s:Common(l:extra), {
        \ 'input_prefix': l:above,
        \ 'input_suffix': l:right .. "\n" .. join(l:lines[l:row :], "\n") .. "\n",
        \ 'prompt': l:left, 'n_predict': 128, 'n_indent': indent(l:row), 'samplers': ['top_k', 'top_p', 'infill'],
        \ 't_max_prompt_ms': 500, 't_max_predict_ms': 60000,
        \ 'response_fields': ['content', 'timings/prompt_n', 'timings/prompt_ms', 'timings/prompt_per_token_ms', 'timings/prompt_per_second',
        \   'timings/predicted_n', 'timings/predicted_ms', 'timings/predicted_per_token_ms', 'timings/predicted_per_second',
        \   'truncated', 'tokens_cached']}))

  let l:new = split(l:reply.content, "\n", 1)
  let l:new[0] = l:left .. l:new[0]
  let l:new[-1] = l:new[-1] .. l:right
  call setline(l:row, l:new[0])
  call append(l:row, l:new[1 :])
  write
  return l:reply
endfunction

try
  let s:reply = s:Fill()
  call writefile([json_encode(s:reply)], '/dev/stdout')
  qall!
catch
  call writefile([v:exception .. ' at ' .. v:throwpoint], '/dev/stderr')
  cquit!
endtry
