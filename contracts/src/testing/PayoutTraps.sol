// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

// What a payout or a sweep may meet. Tests only.

/// @notice Keeps one percent, at least one unit, of every transfer.
contract FeeToken is ERC20 {
    constructor(uint256 supply) ERC20("Fee", "FEE") {
        _mint(msg.sender, supply);
    }

    function _update(address from, address to, uint256 value) internal override {
        if (from == address(0) || value == 0) return super._update(from, to, value);
        uint256 fee = value / 100 + 1;
        super._update(from, address(0xFEE), fee);
        super._update(from, to, value - fee);
    }
}

/// @notice When it is paid it makes one call of its own, and fails unless that call succeeds.
contract Reenterer {
    address public target;
    bytes public wish;
    uint256 public value;

    function aim(address target_, bytes calldata wish_, uint256 value_) external {
        (target, wish, value) = (target_, wish_, value_);
    }

    receive() external payable {
        if (target == address(0)) return;
        (bool done,) = target.call{value: value}(wish);
        require(done, "refused");
    }
}

/// @notice Works, and answers nothing to anything (as the first USDT does).
contract SilentToken {
    mapping(address => uint256) public balanceOf;

    constructor(uint256 supply) {
        balanceOf[msg.sender] = supply;
    }

    function transfer(address to, uint256 value) external {
        balanceOf[msg.sender] -= value;
        balanceOf[to] += value;
    }

    function transferFrom(address from, address to, uint256 value) external {
        balanceOf[from] -= value;
        balanceOf[to] += value;
    }
}

/// @notice Takes value in truthfully; on the way out it answers what it was told to and moves
/// nothing, or calls somebody first.
contract SlyToken {
    mapping(address => uint256) public balanceOf;
    bool public answer;
    address public target;
    bytes public wish;

    constructor(uint256 supply, bool answer_) {
        balanceOf[msg.sender] = supply;
        answer = answer_;
    }

    function aim(address target_, bytes calldata wish_) external {
        (target, wish) = (target_, wish_);
    }

    function give(address to, uint256 value) external {
        balanceOf[to] += value;
    }

    function transferFrom(address from, address to, uint256 value) external returns (bool) {
        balanceOf[from] -= value;
        balanceOf[to] += value;
        return true;
    }

    function transfer(address, uint256) external returns (bool) {
        if (target != address(0)) {
            (bool done, bytes memory why) = target.call(wish);
            if (!done) {
                assembly ("memory-safe") {
                    revert(add(why, 0x20), mload(why))
                }
            }
        }
        return answer;
    }
}
