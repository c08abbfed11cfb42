#compdef minimta sendmail mailq
# zsh completion for minimta(8), sendmail(8) and mailq(1). The verbs and their options minimta says itself.

_minimta_verbs() {
    local -a verbs
    verbs=(${(f)"$(minimta --help 2>/dev/null </dev/null | sed -nE 's/^  ([a-z]+) +(.*)/\1:\2/p')"})
    _describe -t verbs 'verb' verbs
}

_minimta_of_verb() {
    local verb=$words[2]
    local -a found
    if [[ $PREFIX == -* ]]; then
        found=(${(fu)"$(minimta $verb --help 2>/dev/null </dev/null | grep -oE -e '--[a-z][a-z-]*')"})
        if [[ $CURRENT -gt 3 && $words[3] == [a-z]* ]]; then
            found+=(${(fu)"$(minimta $verb $words[3] --help 2>/dev/null </dev/null | grep -oE -e '--[a-z][a-z-]*')"})
        fi
        compadd -a found
        return
    fi
    case $words[CURRENT-1] in
        (-C|--file|--root|--secret-file|--prometheus) _files; return ;;
    esac
    if [[ $CURRENT -eq 3 ]]; then
        found=(${(f)"$(minimta $verb --help 2>/dev/null </dev/null | sed -nE -e 's/^    ([a-z][a-z-]*)  .*/\1/p')"})
        compadd -a found
    fi
    _users
}

case $service in
    (minimta)
        if [[ $CURRENT -eq 2 ]]; then _minimta_verbs; else _minimta_of_verb; fi
        ;;
    (sendmail)
        _arguments \
            '-A-[which queue]:queue:((c\:client m\:MTA))' \
            '-B[type of the body]:type:(7BIT 8BITMIME)' \
            '-b-[mode]:mode:((C\:check D\:daemon,\ foreground d\:daemon h\:hosts H\:purge\ hosts i\:aliases m\:deliver p\:queue s\:SMTP t\:test v\:verify))' \
            '-C[configuration file]:file:_files' \
            '-F[full name of the sender]:name:' \
            '-f[address of the sender]:address:_users' \
            '-i[a single dot does not end the message]' \
            '-N[when to report]:when:(never success failure delay)' \
            '-O[an option]:Name=value:' \
            '-q-[run the queue]:interval or selection:' \
            '-Q-[quarantine]:reason:' \
            '-R[what a report returns]:what:(full hdrs)' \
            '-t[recipients from the header]' \
            '-v[say what is done]' \
            '*:recipient:_users'
        ;;
    (mailq)
        _arguments '-v[whole reasons]' '-A-[which queue]:queue:((c\:client m\:MTA))' '-q-[which messages]:selection:'
        ;;
esac
