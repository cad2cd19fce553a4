// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

// Tokens whose logs and balances tell different stories. For tests of what is credited.

/// @notice A plain token to misbehave from; anybody has as much as they send.
abstract contract Tale {
    event Transfer(address indexed from, address indexed to, uint256 value);

    mapping(address => uint256) internal _held;

    function transfer(address to, uint256 value) external virtual returns (bool) {
        _held[to] += value;
        emit Transfer(msg.sender, to, value);
        return true;
    }

    function balanceOf(address who) external view virtual returns (uint256) {
        return _held[who];
    }
}

/// @notice Tells of every move twice.
contract DoubleTale is Tale {
    function transfer(address to, uint256 value) external override returns (bool) {
        _held[to] += value;
        emit Transfer(msg.sender, to, value);
        emit Transfer(msg.sender, to, value);
        return true;
    }
}

/// @notice Tells of ten times what it moves.
contract BoastingTale is Tale {
    function transfer(address to, uint256 value) external override returns (bool) {
        _held[to] += value;
        emit Transfer(msg.sender, to, value * 10);
        return true;
    }
}

/// @notice Takes everything back in the same block, and says nothing of it.
contract TakingTale is Tale {
    function transfer(address to, uint256 value) external override returns (bool) {
        emit Transfer(msg.sender, to, value);
        _held[to] = 0;
        return true;
    }
}

/// @notice Balances grow by themselves: more arrives than is told.
contract GrowingTale is Tale {
    function transfer(address to, uint256 value) external override returns (bool) {
        _held[to] += value * 2;
        emit Transfer(msg.sender, to, value);
        return true;
    }
}

/// @notice Will not say what anybody holds.
contract MuteTale is Tale {
    function balanceOf(address) external pure override returns (uint256) {
        revert("MuteTale: no");
    }
}

/// @notice Burns all gas when it is asked what anybody holds.
contract BurningTale is Tale {
    function balanceOf(address) external pure override returns (uint256) {
        while (true) {}
        return 1;
    }
}

/// @notice Answers less than a word.
contract ShortTale is Tale {
    function balanceOf(address) external pure override returns (uint256) {
        assembly ("memory-safe") {
            return(0, 31)
        }
    }
}

/// @notice Answers a flood.
contract FloodTale is Tale {
    function balanceOf(address) external pure override returns (uint256) {
        assembly ("memory-safe") {
            return(0, 100000)
        }
    }
}

/// @notice Everybody always holds the same, as much as can be.
contract EndlessTale is Tale {
    function balanceOf(address) external pure override returns (uint256) {
        return type(uint256).max;
    }
}

/// @notice Holdings depend on who asks when: different at every block.
contract WanderingTale is Tale {
    function balanceOf(address who) external view override returns (uint256) {
        return _held[who] + block.number * 1000;
    }
}

/// @notice Tells of a move from the recipient to itself beside the true one.
contract LoopingTale is Tale {
    function transfer(address to, uint256 value) external override returns (bool) {
        _held[to] += value;
        emit Transfer(to, to, value * 7);
        emit Transfer(msg.sender, to, value);
        return true;
    }
}

/// @notice Destroys itself after it told of a move.
contract VanishingTale is Tale {
    function transfer(address to, uint256 value) external override returns (bool done) {
        emit Transfer(msg.sender, to, value);
        done = true;
        selfdestruct(payable(msg.sender));
    }
}
