# bash completion for quire(1)
_quire() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} i
	if [ "$COMP_CWORD" = 1 ]; then
		mapfile -t COMPREPLY < <(compgen -W "run shell help --help --version" -- "$cur")
		return
	fi
	case $prev in
	--rw) mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;
	--kernel | --log) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
	--accel) mapfile -t COMPREPLY < <(compgen -W "auto kvm tcg" -- "$cur"); return ;;
	--ram) mapfile -t COMPREPLY < <(compgen -W "16M 64M 512M 1G 2G" -- "$cur"); return ;;
	--cpus | --cpu | --qemu-arg | --timeout) return ;;
	esac
	for ((i = 2; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--) i=$((i + 1)); break ;;
		--rw | --kernel | --log | --accel | --ram | --cpus | --cpu | --qemu-arg | --timeout) i=$((i + 1)) ;;
		-*) ;;
		*) break ;;
		esac
	done
	if [ "$i" -lt "$COMP_CWORD" ]; then
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
	elif [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "--rw --ram --cpus --stat --deterministic --timeout --no-aslr --kernel \
			--accel --cpu --qemu-arg --gdb --check --log --verbose --help --version --" -- "$cur")
	else
		mapfile -t COMPREPLY < <(compgen -c -- "$cur")
	fi
}
complete -o filenames -F _quire quire
